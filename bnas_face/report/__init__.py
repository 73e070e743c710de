"""Results on disk in; one self-contained page, a leaderboard, tables and figures of a paper out. Never torch."""

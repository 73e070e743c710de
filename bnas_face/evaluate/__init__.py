"""How good is it: protocol cards, embeddings, scores, and the result files a report is made of."""

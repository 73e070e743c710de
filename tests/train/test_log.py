"""The log's rows, and what is reckoned from them."""

from __future__ import annotations

import math

from bnas_face.train import log


def _row(epoch: int, step: int, loss: float) -> log.Row:
    return log.Row(epoch=epoch, step=step, loss=loss, lr=0.1, images_per_s=1.0, development_accuracy=None)


def test_the_loss_of_an_epoch_is_the_mean_over_all_its_steps() -> None:
    rows = [_row(1, 400, 9.0), _row(1, 450, 8.0), _row(2, 650, 4.0), _row(2, 900, 1.0)]
    assert log.epoch_loss(rows) == (200 * 4.0 + 250 * 1.0) / 450
    assert log.epoch_loss(rows[:1]) == 9.0


def test_rows_whose_steps_were_all_passed_over_do_not_count() -> None:
    assert log.epoch_loss([_row(1, 10, math.nan), _row(1, 20, 3.0)]) == 3.0
    assert math.isnan(log.epoch_loss([_row(1, 10, math.nan)]))

"""Pictures of recordings: nothing that stands on them is cut off."""

from __future__ import annotations

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.look import plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn; they are kept open."""
    kept = []
    monkeypatch.setattr(plots.plt, "close", kept.append)
    yield kept
    monkeypatch.undo()
    for figure in kept:
        plots.plt.close(figure)


@pytest.mark.parametrize(
    "title", ["bag x", f"bag /data{'/a_folder_of_recordings' * 12}/episode-7"]
)
def test_a_long_title_stays_on_the_picture(tmp_path, figures, title):
    actions = [np.zeros((20, 7), np.float32)]
    plots.plot_actions(tmp_path / "actions.png", load_contract("sim_panda"), actions, title)
    (figure,) = figures
    figure.canvas.draw()
    words = figure._suptitle.get_window_extent()
    first = figure.axes[0].get_window_extent()
    assert words.x0 >= 0
    assert words.x1 <= figure.bbox.width
    assert first.y1 <= words.y0 < words.y1 <= figure.bbox.height

from matplotlib.image import imread

from extrabert_hf.runs.figures import plot_conflicts


def test_conflicts_become_a_picture_that_is_not_empty(tmp_path):
    plot_conflicts([(step, "sst", "sts", (-1) ** step * 0.5) for step in range(1, 100)]).savefig(tmp_path / "it.png")
    assert imread(tmp_path / "it.png")[..., :3].std() > 0.05

from matplotlib.image import imread

from extrabert_hf.evaluation.figures import plot_conflicts


def test_conflicts_become_a_picture_that_is_not_empty(tmp_path):
    path = tmp_path / "figures" / "conflicts.png"
    plot_conflicts([(step, "sst", "sts", (-1) ** step * 0.5) for step in range(1, 100)], path)
    assert imread(path)[..., :3].std() > 0.05


def test_without_conflicts_there_is_no_picture(tmp_path):
    plot_conflicts([], tmp_path / "conflicts.png")
    assert not list(tmp_path.iterdir())

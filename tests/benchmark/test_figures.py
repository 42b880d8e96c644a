from extrabert_hf.benchmark.figures import plot_ratios

ENTRIES = [
    {"name": "a", "peer_name": "x 1.0", "ratio": 2.0, "ratios": [1.5, 2.5]},
    {"name": "b", "peer_name": "y", "ratio": 0.5, "ratios": [0.6, 0.7]},
]


def test_each_ratio_is_a_bar_the_first_on_top():
    axes = plot_ratios(ENTRIES).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b\ny", "a\nx 1.0"]

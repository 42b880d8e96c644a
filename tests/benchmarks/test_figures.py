from benchmarks.report import plot_ratios, plot_scaling

ENTRIES = [
    {"name": "train-a", "batch_size": 16, "peer_name": "x 1.0", "ratio": 2.0, "ratios": [1.5, 2.5]},
    {"name": "b", "peer_name": "y", "ratio": 0.5, "ratios": [0.6, 0.7]},
]


def test_each_ratio_is_a_bar_the_first_on_top():
    axes = plot_ratios(ENTRIES).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b\ny", "train-a, batch 16\nx 1.0"]


def test_seconds_are_lines_over_rows_and_over_words():
    sizes = {"rows": [{"rows": 10, "ours": 1.0, "peer": 2.0}], "words": [{"words": 8, "ours": 3.0, "peer": 4.0}]}
    rows, words = plot_scaling([{**ENTRIES[0], "scaling": sizes}]).axes
    assert [list(line.get_ydata()) for line in rows.lines + words.lines] == [[1.0], [2.0], [3.0], [4.0]]

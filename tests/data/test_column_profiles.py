import datetime
from decimal import Decimal

import pytest

from extrabert_hf.data.column_profiles import MOST_VALUES, ColumnProfile, profile_columns
from extrabert_hf.data.rejected_rows import RejectedRow

KINDS = {
    "empty": [None, "", float("nan")],
    "constant": ["v1"] * 30,
    "lists": [["a"], {"b": 1}],
    "date": [f"2020-01-{day:02} 10:00" for day in range(1, 29)],
    "link": [f"https://example.org/{n}?q=1" for n in range(30)],
    "id": list(range(1, 31)),
    "fractions": ["0.5", "1", "2.25", "1.0"] * 5,
    "integers": ["1", 2, 3.0, "4.0"] * 10,
    "text": [f"a sentence with the number {n}" for n in range(30)],
    "words": [f"Ann{chr(97 + n % 26)} Li" for n in range(24)] + ["Bo"] * 6,
    "names": ["very good", "bad", "not so good at all"] * 10,
}
MORE = [
    ("date", [datetime.date(2020, 1, day) for day in range(1, 29)]),
    ("date", ["3 May 2021", "May 4, 2021", "5.6.21"]),
    ("link", [f"user{n}@example.org" for n in range(5)]),
    ("id", [f"tt{n:07}" for n in range(30)]),
    ("id", [10_000 + 7 * n for n in range(30)]),
    ("integers", [n % 90 for n in range(100)]),
    ("fractions", [Decimal("0.5"), Decimal("0.25")] * 3),
    ("fractions", ["0,5", "2,5", "1"] * 9),
    ("integers", ["85%", "7 %"] * 9),
    ("integers", ["1", "2"] * 20 + ["n.a."]),
    ("names", ["1", "2"] * 20 + ["n.a."] * 10),
    ("names", [True, False] * 9),
    ("text", [f"この映画は良かった{n}" for n in range(30)]),
]


@pytest.mark.parametrize(("kind", "values"), [*KINDS.items(), *MORE])
def test_the_kind_of_a_column_comes_from_its_values(kind, values):
    profile = ColumnProfile("column")
    for value in values:
        profile.add(value)
    assert profile.kind == kind


def test_rejected_rows_are_left_out_and_columns_of_texts_are_not_counted_to_the_end():
    rows = [(n, {"text": f"text {n}", "label": n % 2}) for n in range(3 * MOST_VALUES)]
    profiles, total = profile_columns(iter([RejectedRow.of("a.csv", 1, "bad", ""), *rows]), ["text", "label"])
    assert total == len(rows) and profiles["label"].values == {"0": total / 2, "1": total / 2}
    assert MOST_VALUES <= len(profiles["text"].values) <= MOST_VALUES + 1000 and profiles["text"].is_full

from extrabert_hf.data.auditing import audit, audit_page
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.tasks import PAPER_TASKS


def test_a_page_has_a_column_for_each_split_and_the_ids_of_defects():
    for name, task in PAPER_TASKS.items():
        report = audit(load_task_data(task, "sample"), task)
        report["leaks"]["dev"] = {"rows": 7, "examples": ["x1", "x2"]}
        report["rejected"] = {"no label": 3}
        page = audit_page(report)
        assert page.splitlines()[0].split() == [name, "train", "dev", "test"]
        assert f"{len(load_task_data(task, 'sample').splits['train']):,}" in page
        assert "dev rows whose text is in train, ids: x1, x2, ..." in page
        assert "rows that can't be used: 3\n    3 no label" in page

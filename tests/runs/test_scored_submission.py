import numpy as np

from extrabert_hf.runs.scored import write_submission
from extrabert_hf.tasks import PAPER_TASKS


def test_the_file_has_the_form_the_graders_read(tmp_path):
    path = tmp_path / "predictions" / "dev.csv"
    write_submission(path, PAPER_TASKS["sst"], ["a1", "b2"], np.array([3, 0]))
    assert path.read_text() == "id \t Predicted_Sentiment \na1 , 3 \nb2 , 0 \n"
    write_submission(path, PAPER_TASKS["sts"], ["a1"], np.array([2.5]))
    assert path.read_text() == "id \t Predicted_Similiary \na1 , 2.5 \n"

"""GQA accuracy (Hudson and Manning 2019): the share of predictions equal to the answer.

Official source: `eval.py` of the GQA data set, which compares the texts as they stand: `Yes` is not
`yes`. Models that answer in sentences or in capitals are therefore usually prepared first (LLaVA
takes the last period off and lowers the case before it calls `eval.py`). The official accuracy is
that of the balanced questions: score those rows.

Profiles: `lmms-eval` (0.7.3: `lmms_eval/tasks/gqa/gqa.yaml`, exact match that ignores case and
punctuation) and `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20:
`vlmeval/dataset/utils/vqa_eval.py`, method `accuracy`: lower case, ends stripped), as those of
`exact_match`. An empty prediction scores 0.
"""

from __future__ import annotations

from vqa.metrics.exact_match import Form, lower_stripped, match_metric, without_ascii_punctuation

_FORMS: dict[str, Form] = {
    "official": str,
    "lmms-eval": without_ascii_punctuation,
    "vlmevalkit": lower_stripped,
}


PROFILES = {profile: match_metric("gqa", form) for profile, form in _FORMS.items()}

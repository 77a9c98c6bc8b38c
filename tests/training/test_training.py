"""The training recipes on tiny random models: what learns, what stays, kills and resumes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.tiny import llava_1_5
from training.run import run
from training.sft.data import encode_example
from training.sft.finetune import FinetuneRecipe
from training.sft.tokens import prefix_key, shared_prefix
from vqa.data import read
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.models import checkpoints
from vqa.models.llava import compose


def test_finetune_gives_an_adapter_that_loads_and_leaves_the_encoder_alone(tmp_path, data, config):
    base = llava_1_5(tmp_path / "base")
    before = checkpoints.load(str(base), dtype="float32").model.state_dict()
    out = tmp_path / "run"
    run(config(recipe="finetune", model=base, data=data, output=out, epochs=2,
               learning_rate={"projector": 0.01, "language": 0.01}))  # fmt: skip
    loaded = checkpoints.load(str(out), dtype="float32")
    after = loaded.model.state_dict()
    assert set(before) == set(after)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert all("multi_modal_projector" in n or "language_model" in n for n in changed)
    assert any("multi_modal_projector" in name for name in changed)
    assert any("language_model" in name for name in changed)
    adapter = load_file(out / "adapter_model.safetensors")
    assert not any("vision_tower" in name for name in adapter)
    assert loaded.name == str(out)


def test_pretrain_trains_the_projector_alone_and_gives_a_llava_directory(tmp_path, data, config):
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    out = tmp_path / "run"
    run(config(recipe="pretrain", vision=vision, language=language, data=data,
               output=out, learning_rate={"projector": 0.01}))  # fmt: skip
    fresh = compose(vision, language).model.state_dict()
    trained = checkpoints.load(str(out), dtype="float32").model.state_dict()
    changed = {name for name in fresh if not torch.equal(fresh[name], trained[name])}
    assert changed and all("multi_modal_projector" in name for name in changed)


@pytest.mark.parametrize("recipe", ["finetune", "pretrain"])
def test_a_run_that_goes_on_from_a_checkpoint_ends_like_an_unbroken_one(
    tmp_path, data, config, recipe
):
    start: dict[str, object]
    if recipe == "finetune":
        start = {"model": llava_1_5(tmp_path / "base")}
    else:
        start = {"vision": tiny.vision(tmp_path / "v", "clip")}
        start["language"] = tiny.language(tmp_path / "l")
    start["validation"] = {"share": 0}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(config(recipe=recipe, data=data, output=whole, epochs=4, **start))

    class Killed(Exception):
        pass

    from training.common.trainer import RowTrainer

    original = RowTrainer.training_step

    def killed_at_step_three(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise Killed
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowTrainer, "training_step", killed_at_step_three)
        with pytest.raises(Killed):
            run(config(recipe=recipe, data=data, output=broken, epochs=4, **start))
    assert (broken / "checkpoint-2").is_dir()
    run(config(recipe=recipe, data=data, output=broken, epochs=4, **start))
    name = "adapter_model.safetensors" if recipe == "finetune" else "model.safetensors"
    one, two = load_file(whole / name), load_file(broken / name)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_adapter_is_refused_on_another_base(tmp_path, data, config, monkeypatch):
    base = llava_1_5(tmp_path / "base")
    out = tmp_path / "run"
    run(config(recipe="finetune", model=base, data=data, output=out, max_steps=1))
    part = next(base.glob("*.safetensors"))
    weights = {name: value + 0.5 for name, value in load_file(part).items()}
    save_file(weights, part, metadata={"format": "pt"})
    with pytest.raises(InputError, match="was trained on"):
        checkpoints.load(str(out))
    monkeypatch.delattr(FinetuneRecipe, "build")  # features take minutes: it is refused before them
    values = {"model": base, "data": data, "max_steps": 1, "output": tmp_path / "second"}
    with pytest.raises(InputError, match="was trained on"):
        run(config(recipe="finetune", adapter=str(out), **values))


def test_a_run_goes_on_from_an_adapter(tmp_path, data, config):
    base = llava_1_5(tmp_path / "base")
    values = {"recipe": "finetune", "model": base, "data": data, "max_steps": 2}
    run(config(**values, output=tmp_path / "first"))
    slow = {"projector": 1e-9, "language": 1e-9}
    values |= {"adapter": str(tmp_path / "first")}
    run(config(**values, output=tmp_path / "second", learning_rate=slow))
    first, second = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second")
    )
    assert set(first) == set(second)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    with pytest.raises(InputError, match=r"trained with r=16, not 8"):
        run(config(**values, output=tmp_path / "third", lora={"rank": 8}))
    with pytest.raises(InputError, match="no adapter here"):
        run(config(**{**values, "adapter": "nowhere"}, output=tmp_path / "third"))


def test_features_are_computed_once(tmp_path, data, config, monkeypatch):
    import training.common.features

    base = llava_1_5(tmp_path / "base")
    calls = []
    original = training.common.features.patch_features
    monkeypatch.setattr(
        training.common.features, "patch_features", lambda *a: calls.append(1) or original(*a)
    )
    counts = []
    for name in ("first", "second"):
        run(config(recipe="finetune", model=base, data=data, output=tmp_path / name,
                   max_steps=1))  # fmt: skip
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora": {"layers": ["no_such"]}}, "match nothing"),
        ({"repeat": {"nothing": 2}}, "nothing"),
        ({"data": None}, "data"),
        ({"recipe": "other"}, "recipe"),
        ({"learning_rat": 1}, "learning_rate"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, data, config, change, message):
    base = llava_1_5(tmp_path / "base")
    values = {"recipe": "finetune", "model": base, "data": data, "output": tmp_path / "run"}
    with pytest.raises(InputError, match=message) as error:
        run(config(**(values | change)))
    assert "\n" not in str(error.value)


def test_an_adapter_is_no_model_to_start_from(tmp_path, data, config):
    base = llava_1_5(tmp_path / "base")
    values = {"recipe": "finetune", "data": data, "max_steps": 1, "validation": {"share": 0}}
    run(config(**values, model=base, output=tmp_path / "first"))
    with pytest.raises(InputError, match=r"is an adapter on .*base: go on with it by model="):
        run(config(**values, model=tmp_path / "first", output=tmp_path / "second"))


def test_data_is_the_same_from_any_directory(tmp_path, data, config, monkeypatch):
    """Tokens are cached once; the paths in them must not hang on where the command was given."""
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "max_steps": 1}
    monkeypatch.chdir(tmp_path.parent)
    relative = f"{tmp_path.name}/train.jsonl"
    run(config(**values, data=relative, images=tmp_path.name, output=tmp_path / "first"))
    monkeypatch.chdir(tmp_path)
    run(config(**values, data="train.jsonl", output=tmp_path / "second",
               projector_start="words"))  # fmt: skip
    run(config(**values, data=data, output=tmp_path / "third", projector_start="words"))
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 2  # tokens, and their lock


def test_rows_without_pictures_are_learned_too(tmp_path, data, config):
    with data.open("a") as file:
        for number in range(30):
            row = {"image": [], "question": f"What is {number}?", "answer": "a number"}
            file.write(json.dumps(row) + "\n")
    out = tmp_path / "run"
    run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data, output=out,
               row_tokens=64, validation={"share": 0.2, "max_new_tokens": 2}))  # fmt: skip
    described = json.loads((out / "run.json").read_text())
    assert described["rows"] + described["validation_rows"] == 46
    assert described["finished"]


def test_rows_with_pictures_in_the_text_are_trained_on_and_measured(tmp_path, data, config):
    """LLaVA's conversations, of which two begin alike up to their last picture."""
    rows = []
    for number in range(8):
        names = [f"{number}.png", f"{(number + 2) % 8}.png"]
        for end in ("?", ", or not?", "? <image>"):
            turns = [{"from": "human", "value": f"Is <image> the same as <image>{end}"},
                    {"from": "gpt", "value": "yes"}]  # fmt: skip
            images = [*names, names[0]] if "<image>" in end else names
            rows.append({"id": len(rows), "image": images, "conversations": turns})
    path = data.with_name("llava.json")
    path.write_text(json.dumps(rows))
    base = llava_1_5(tmp_path / "base")
    processor = checkpoints.load_config_and_processor(str(base))[1]
    examples = list(read(path))
    encoded = [encode_example(example, processor) for example in examples]
    for example, one in zip(examples, encoded, strict=True):
        turns = [{"role": "user", "content": [{"type": "text", "text": example.question}]},
                {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]  # fmt: skip
        pictures = [load_image(image) for image in example.images]
        plain = processor.apply_chat_template(
            turns, tokenize=True, return_dict=True, processor_kwargs={"images": pictures}
        )
        assert one.input_ids == [*plain["input_ids"][0], processor.tokenizer.eos_token_id]
    cuts = [shared_prefix(one, processor.image_token_id) for one in encoded]
    keys = [prefix_key(*pair, 0) for pair in zip(encoded, cuts, strict=True)]
    assert keys[0] == keys[1] != keys[2]
    out = tmp_path / "run"
    run(config(recipe="finetune", model=base, data=path, output=out,
               validation={"share": 0.2, "max_new_tokens": 2}))  # fmt: skip
    assert json.loads((out / "run.json").read_text())["finished"]
    (last,) = sorted((out / "validation").glob("step-*.jsonl"))[-1:]
    measured = [json.loads(line) for line in last.read_text().splitlines()]
    assert measured
    for row in measured:
        text, places = row["question"], row["image_places"]
        assert [text[place : place + 7] for place in places] == ["<image>"] * len(row["image"])


def test_answers_of_the_same_few_words_start_no_projector(tmp_path, data, config):
    rows = [json.loads(line) | {"answer": "yes"} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="set projector_start=as_is"):
        run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data,
                   output=tmp_path / "run", projector_start="words"))  # fmt: skip

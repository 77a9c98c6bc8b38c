"""How fast fine-tuning is, beside plain transformers and beside the machine's matrix products.

    python benchmarks/training_speed.py                     the embedded model on easy-VQA
    python benchmarks/training_speed.py --memory            only the peak beside its estimate

In one run on the same questions, weights, seed, type, threads, LoRA targets and samples a step:
`training.sft` with packed rows and cached features, and plain `transformers.Trainer` with
`LlavaForConditionalGeneration`, its processor and a collator that pads single questions. Then the
loss of both on questions about other pictures.
"""

from __future__ import annotations

import json
import math
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils.logging import disable_progress_bar

from training.common.loop import fit
from training.sft.finetune import FinetuneRecipe
from training.sft.packing import PackedRows
from training.sft.settings import FinetuneSettings
from vqa.data import easy_vqa, read
from vqa.data.encoding import encode_row
from vqa.data.example import Example
from vqa.errors import VQAError
from vqa.inputs.images import load_image
from vqa.models import checkpoints
from vqa.utils.files import write_jsonl

_CHECKED = 200  # questions about other pictures


def main(
    model: Annotated[str, typer.Option(help="A LLaVA model to start from.")] = "embedded",
    samples: Annotated[int, typer.Option(min=20, help="Questions to train on.")] = 480,
    rows_per_step: Annotated[int, typer.Option(min=1)] = 2,
    row_tokens: Annotated[int, typer.Option(min=64)] = 448,
    dtype: str = "auto",
    language: Annotated[str, typer.Option(help="lora or full, as train.language.")] = "lora",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    torch_compile: Annotated[bool, typer.Option(help="As in a recipe; for ours alone.")] = False,
    rows_at_once: Annotated[int, typer.Option(min=1, help="As in a recipe; for ours alone.")] = 1,
    memory: Annotated[bool, typer.Option(help="Only compare memory with its estimate.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure and print."""
    disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as work:
        try:
            trained, checked = _questions(Path(work), samples)
            settings = FinetuneSettings(
                recipe="finetune", model=model, data=trained, images=easy_vqa.directory(),
                output=Path(work) / "run", row_tokens=row_tokens, rows_per_step=rows_per_step,
                learning_rate={"projector": 1e-4, "language": 5e-4}, warmup_ratio=0.1, dtype=dtype,
                save_every=10**6, validation={"share": 0}, train={"language": language},
                torch_compile=torch_compile, rows_at_once=rows_at_once,
            )  # fmt: skip
            result = _memory(settings) if memory else _compare(settings, checked, samples)
        except VQAError as error:
            raise SystemExit(f"training_speed.py: {error}") from error
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        _show(result)


def _questions(work: Path, samples: int) -> tuple[Path, list[Example]]:
    """The first questions of easy-VQA's training half, and questions of its test half."""
    root = easy_vqa.directory()
    rows = [json.loads(line) for line in (root / "train.jsonl").read_text().splitlines()[:samples]]
    path = work / "train.jsonl"
    write_jsonl(path, rows)
    return path, list(read(root / "test.jsonl", root))[:_CHECKED]


def _compare(
    settings: FinetuneSettings, checked: Sequence[Example], samples: int
) -> dict[str, Any]:
    ours, steps = _ours(settings, checked)
    plain = _plain(settings, checked, samples, steps)
    return {
        "samples": samples,
        "steps": steps,
        "dtype": ours.pop("dtype"),
        "threads": torch.get_num_threads(),
        "here": ours,
        "plain": plain,
        "ratio": ours["samples_per_second"] / plain["samples_per_second"],
        "ratio_with_features": ours["samples_per_second_with_features"]
        / plain["samples_per_second"],
        "matrix_products": ours["flops"] / _matrix_rate(settings),
    }


def _ours(settings: FinetuneSettings, checked: Sequence[Example]) -> tuple[dict[str, Any], int]:
    recipe = FinetuneRecipe(settings)
    recipe.classifier = None  # no names before the questions: those of the plain Trainer have none
    model = recipe.loaded.model
    with _fresh_cache(settings.output.parent / "cache"):
        start = time.perf_counter()
        plan = recipe.plan()
        prepared = recipe.prepare(plan, model)
        features = time.perf_counter() - start
    settings.output.mkdir(parents=True)
    start, processor = time.perf_counter(), time.process_time()
    trainer = fit(recipe, prepared)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    rows = prepared.train
    assert isinstance(rows, PackedRows)
    tokens = sum(int(rows.groups.tokens[rows.layout[n]].sum()) for n in range(len(rows)))
    weights = sum(
        module.weight.numel() for module in model.model.language_model.modules()
        if type(module) is torch.nn.Linear
    )  # fmt: skip
    return {
        "samples_per_second": plan.size.rows / seconds,
        "samples_per_second_with_features": plan.size.rows / (seconds + features),
        "seconds": seconds,
        "seconds_for_tokens_and_features": features,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        # of all threads together: other programs on the machine change it less
        "tokens_per_processor_second": tokens / processor,
        # forward, and backward to the inputs: two products with every weight, two operations each
        "flops": 4 * weights * tokens / seconds,
        "loss": _loss(model, recipe.processor, checked),
        "dtype": str(model.dtype).removeprefix("torch."),
    }, trainer.state.global_step


@contextmanager
def _fresh_cache(directory: Path) -> Iterator[None]:
    """Keep tokens and features where none are yet: others would have been made before."""
    before = os.environ.get("VQA_CACHE")
    os.environ["VQA_CACHE"] = str(directory)
    try:
        yield
    finally:
        os.environ.pop("VQA_CACHE")
        if before is not None:
            os.environ["VQA_CACHE"] = before


class _Single(Dataset[Example]):
    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def _plain(
    settings: FinetuneSettings, checked: Sequence[Example], samples: int, steps: int
) -> dict[str, Any]:
    """transformers' Trainer as its documentation has it, with as many samples a step."""
    recipe = FinetuneRecipe(settings)
    loaded = recipe.loaded
    processor = loaded.processor
    torch.manual_seed(settings.seed)
    trained = recipe.set_trainable(loaded.model, settings)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    assert settings.data is not None

    def collate(batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        encoded = [encode_row(example, processor) for example in batch]
        longest = max(len(one.input_ids) for one in encoded)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, one in enumerate(encoded):
            size = len(one.input_ids)
            ids[row, :size] = torch.tensor(one.input_ids)
            mask[row, :size] = 1
            for place, in_loss in enumerate(one.loss_mask):
                if in_loss:
                    labels[row, place] = one.input_ids[place]
        pictures = [load_image(example.images[0]) for example in batch]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        return {
            "input_ids": ids, "attention_mask": mask, "labels": labels,
            "pixel_values": pixels.to(loaded.model.dtype),
        }  # fmt: skip

    rates = settings.learning_rate
    groups: dict[float, list[torch.nn.Parameter]] = {rates.projector: [], rates.language: []}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            projector = "multi_modal_projector" in name
            groups[rates.projector if projector else rates.language].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": group, "lr": rate} for rate, group in groups.items()], weight_decay=0.0
    )
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output, per_device_train_batch_size=math.ceil(samples / steps),
            num_train_epochs=1, lr_scheduler_type="cosine",
            warmup_steps=math.ceil(settings.warmup_ratio * steps),
            max_grad_norm=settings.max_grad_norm, bf16=loaded.model.dtype == torch.bfloat16,
            use_cpu=loaded.model.device.type == "cpu", save_strategy="no", report_to="none",
            disable_tqdm=True, remove_unused_columns=False, seed=settings.seed,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(
            model=trained, args=arguments, data_collator=collate, optimizers=(optimizer, None),
            train_dataset=_Single(list(read(settings.data, settings.images))),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return {
        "samples_per_second": samples / seconds,
        "seconds": seconds,
        "samples_per_step": math.ceil(samples / steps),
        "loss": _loss(loaded.model, processor, checked),
    }


@torch.no_grad()
def _loss(model: Any, processor: Any, examples: Sequence[Example]) -> float:
    """Mean cross entropy of the answers, by transformers' own loss, a question at a time."""
    model.eval()
    total, count = 0.0, 0
    for example in examples:
        one = encode_row(example, processor)
        ids = torch.tensor([one.input_ids])
        labels = ids.masked_fill(~torch.tensor([one.loss_mask]), -100)
        pixels = processor.image_processor(load_image(example.images[0]), return_tensors="pt")
        values = pixels["pixel_values"].to(model.device, model.dtype)
        with torch.autocast(
            model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16
        ):
            loss = model(
                input_ids=ids.to(model.device), pixel_values=values, labels=labels.to(model.device)
            ).loss
        total += float(loss) * sum(one.loss_mask)
        count += sum(one.loss_mask)
    return total / count


def _matrix_rate(settings: FinetuneSettings) -> float:
    """Operations a second of the model's largest product on a row of tokens; the best of some."""
    config, _ = checkpoints.load_config_and_processor(settings.model)
    text, dtype = config.text_config, checkpoints.dtype_of(settings.dtype, config, settings.device)
    left = torch.randn(settings.row_tokens, text.hidden_size).to(dtype)
    right = torch.randn(text.intermediate_size, text.hidden_size).to(dtype)
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * left.numel() * text.intermediate_size / best


class _Peak(TrainerCallback):  # type: ignore[misc]
    """The most memory of the process while it trains, pages of files not counted."""

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._end.wait(0.02):
            info = process.memory_info()
            self.most = max(self.most, info.rss - info.shared)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def _memory(settings: FinetuneSettings) -> dict[str, Any]:
    """The peak of a run beside its estimate."""
    recipe = FinetuneRecipe(settings)
    estimated = recipe.estimate_with(settings).total
    plan = recipe.plan()
    prepared = recipe.prepare(plan, recipe.build(plan))
    settings.output.mkdir(parents=True)
    with _Peak() as peak:
        fit(recipe, prepared)
    return {
        "estimate": estimated, "measured": peak.most, "ratio": estimated / peak.most,
        "largest_ever": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def _show(result: dict[str, Any]) -> None:
    if "estimate" in result:
        estimated, measured = (result[key] / 1e9 for key in ("estimate", "measured"))
        Console().print(f"memory: {estimated:.2f} GB estimated, {measured:.2f} GB measured")
        return
    table = Table(
        title=f"{result['samples']} questions in {result['steps']} steps, {result['dtype']}, "
        f"{result['threads']} threads"
    )
    table.add_column("")
    for column in ("here", "plain Trainer", "ratio"):
        table.add_column(column, justify="right")
    here, plain = result["here"], result["plain"]
    speed = plain["samples_per_second"]
    rows = [
        ("samples a second", here["samples_per_second"], result["ratio"]),
        ("... with tokens and features made", here["samples_per_second_with_features"],
         result["ratio_with_features"]),
    ]  # fmt: skip
    for name, value, ratio in rows:
        table.add_row(name, f"{value:.2f}", f"{speed:.2f}", f"{ratio:.2f}")
    table.add_row("loss on other pictures", f"{here['loss']:.3f}", f"{plain['loss']:.3f}", "")
    for unit in ("second", "processor second"):
        speed = here[f"tokens_per_{unit.replace(' ', '_')}"]
        table.add_row(f"packed tokens a {unit}", f"{speed:.0f}", "", "")
    share = result["matrix_products"]
    table.add_row("of the machine's matrix products", f"{100 * share:.0f} %", "", "")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)

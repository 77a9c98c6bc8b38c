"""`vqa data`: make, convert, check and look at data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.cli.data_check import check
from vqa.cli.data_preview import preview
from vqa.cli.feedback import export_feedback
from vqa.cli.options import Images
from vqa.cli.output import notices
from vqa.cli.preference_pairs import pairs
from vqa.cli.train import training_module
from vqa.errors import InputError
from vqa.utils.console import counted, one_line

data_app = typer.Typer(help="Make, convert, check and look at data.", no_args_is_help=True)
data_app.command()(check)
data_app.command()(preview)
data_app.command()(export_feedback)
data_app.command()(pairs)
if TYPE_CHECKING:
    from vqa.data.row_reader import BadRow

_SHOWN = 100  # bad rows

SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave bad rows out, and those whose picture is missing or broken, instead of writing "
        "nothing.",
    ),
]
To = Literal["jsonl", "csv", "parquet", "llava", "openai"]


@data_app.callback()
def data() -> None:
    """Make, convert, check and look at data."""


@data_app.command()
def build(
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped name: mix.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="data_root=DIR out=DIR ...")
    ] = None,
) -> None:
    """Make a training mix and its validation rows from public data sets."""
    from vqa.utils.config import load_config

    factory = training_module("mix.build")
    settings = load_config(training_module("mix.settings").MixSettings, config, overrides or [])
    if settings.data_root is None:
        for source in settings.sets:
            typer.echo(f"{source}: {factory.SETS[source].origin}", err=True)
    elif settings.out is None:
        raise InputError("out=DIR is missing: where train.jsonl and val/ go")
    mix = factory.build(settings)
    assert settings.out is not None
    factory.write(mix, settings.out)
    tasks = Counter(row["task"] for row in mix.train)
    pictures = len({row["image"] for row in mix.train if "image" in row})
    typer.echo(f"{settings.out}/train.jsonl: {len(mix.train)} rows about {pictures} pictures")
    typer.echo("  " + ", ".join(f"{task} {count}" for task, count in tasks.most_common()))
    for name, rows in sorted(mix.validation.items()):
        typer.echo(f"{settings.out}/val/{name}.jsonl: {len(rows)} rows")
    typer.echo(f"train with data={settings.out}/train.jsonl; the pictures are in {settings.out}")


@data_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data of any format that is read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    images: Images = None,
    to: Annotated[
        To | None, typer.Option(help="What to write (default: what OUT's ending says).")
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Write data of any known format as JSONL, CSV, Parquet, LLaVA JSON or OpenAI messages."""
    from vqa.data.convert import convert, format_of_name

    result = convert(source, out, to or format_of_name(out), images, skip_bad, notices(source))
    _print_bad_rows(source, result.bad)
    if not result.written:
        raise _nothing_written(result.left_out, result.rows)
    left_out = f", {counted(result.left_out, 'bad row')} left out" if result.left_out else ""
    typer.echo(f"{out}: {counted(result.rows, 'row')}{left_out}")
    if result.ids_as_texts:
        typer.echo("its ids are texts, as '7' for 7: a column of Parquet has one type")
    if result.root.resolve() != out.parent.resolve():
        typer.echo(f"its pictures are named as they lie below {result.root}")


def _print_bad_rows(source: Path, bad: list[BadRow]) -> None:
    for row in bad[:_SHOWN]:
        typer.echo(one_line(f"vqa: {source}:{row.line}: {row.reason}", 500), err=True)
    if len(bad) > _SHOWN:
        typer.echo(f"vqa: and {len(bad) - _SHOWN} more; `vqa data check --json` has all", err=True)


def _nothing_written(bad: int, good: int) -> InputError:
    skip = ", or leave them out with --skip-bad" if good else ""
    return InputError(
        f"{counted(bad, 'bad row')}: nothing is written; correct or remove them{skip}"
    )


@data_app.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data of any format that is read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The directory to write to.")],
    images: Images = None,
    share: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Of the pictures, for test.jsonl.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Another one draws other pictures.")] = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Write train.jsonl and test.jsonl that share no picture, whatever its file is called."""
    from vqa.data.split import split

    result = split(source, out, share, images, seed, skip_bad, notices(source))
    _print_bad_rows(source, result.bad)
    if not result.written:
        raise _nothing_written(result.left_out, result.rows)
    for name, (rows, pictures) in (("train", result.train), ("test", result.test)):
        about = f"{counted(rows, 'row')} about {counted(pictures, 'picture')}"
        typer.echo(f"{out / name}.jsonl: {about}")
    if result.left_out:
        typer.echo(f"{counted(result.left_out, 'bad row')} left out")
    if result.root.resolve() != out.resolve():
        typer.echo(f"their pictures are named as they lie below {result.root}")


@data_app.command()
def fetch(
    name: Annotated[Literal["easy_vqa"], typer.Argument(help="The set: easy_vqa (MIT, 3 MB).")],
) -> None:
    """Fetch a public data set and print its directory, with train.jsonl and test.jsonl."""
    from vqa.data import easy_vqa

    typer.echo(easy_vqa.directory())

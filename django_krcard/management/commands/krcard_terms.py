from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.models import Terms
from django_krcard.services.terms_files import BadTermsFile, Version, as_toml, from_toml, version_of
from django_krcard.services.terms_loading import Loaded, load

MAX_BY = Terms._meta.get_field("published_by").max_length


class Command(KrcardCommand):
    help = (
        "Keeps terms as files in the site's repository: writes them out, and loads them on each deploy. "
        "Exit code 0: the database says what the files say; 1: something was refused, and nothing was changed; "
        "2: it could not run, for one because a file makes no terms."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="dump|load")
        dump = acts.add_parser("dump", help="Write terms as TOML.")
        dump.add_argument("slug")
        dump.add_argument(
            "--version-number", "--version", metavar="N", type=int, dest="number", help="Else: the version in force."
        )
        dump.add_argument("--to", metavar="FOLDER", help="Write a file for each version, or for the one named.")
        load = acts.add_parser("load", help="Bring the database to what the files say.")
        load.add_argument("paths", nargs="+", metavar="PATH", help="A file, or a folder with *.toml.")
        load.add_argument("--publish", action="store_true", help="Put in force what is a draft.")
        load.add_argument("--dry-run", action="store_true", help="Only say what would happen. Changes nothing.")
        load.add_argument("--by", metavar="NAME", default="", help="Who publishes, for the record.")
        load.add_argument("--json", action="store_true", help="One JSON object a version, and one with the sums.")

    def handle(self, *, act: str, **options: Any) -> None:
        self.dump(**options) if act == "dump" else self.load(**options)

    def dump(self, *, slug: str, number: int | None, to: str | None, **options: Any) -> None:
        known = list(Terms.objects.filter(slug=slug).order_by("version"))
        wanted = [terms for terms in known if number in (None, terms.version)]
        if not wanted:
            raise could_not_run(f"There are no terms {slug}{f' v{number}' if number else ''}.")
        if to:
            for terms in wanted:
                self.write(Path(to) / f"{slug}-v{terms.version}.toml", as_toml(version_of(terms)))
            return
        in_force = next((terms for terms in wanted if terms.status == Terms.Status.PUBLISHED), wanted[-1])
        self.stdout.write(as_toml(version_of(in_force)), ending="")

    def write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        except OSError as error:
            raise could_not_run(f"{path} cannot be written: {error.strerror}.") from error
        self.stdout.write(str(path))

    def load(self, *, paths: list[str], publish: bool, dry_run: bool, by: str, json: bool, **options: Any) -> None:
        by = f"staff:{by}" if by else "system"
        if len(by) > MAX_BY:
            raise could_not_run(f"--by takes up to {MAX_BY - len('staff:')} characters.")
        files = read(paths)
        loaded = load(files.values(), by=by, publish_drafts=publish, dry_run=dry_run)
        for one in loaded:
            self.tell(one, files_of(files, one), json=json)
        refused = sum(bool(one.problems) for one in loaded)
        if json:
            self.stdout.write(as_json({"summary": {"versions": len(loaded), "refused": refused}, "dry_run": dry_run}))
        elif dry_run:
            self.stdout.write("Nothing was changed: this was a dry run.")
        if refused:
            raise not_all_well(f"{refused} of {len(loaded)} versions were refused, so nothing was changed.")

    def tell(self, one: Loaded, file: str, *, json: bool) -> None:
        self.stdout.write(as_json({"file": file, **one._asdict()}) if json else f"{file}: {one}")


def read(paths: list[str]) -> dict[str, Version]:
    """File → version. All problems of all files are told at once."""
    found: dict[str, Version] = {}
    problems: list[str] = []
    for path in _files(paths):
        try:
            version = from_toml(path.read_text(encoding="utf-8"))
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}.")
        except UnicodeDecodeError as error:
            problems.append(f"{path}: it is not UTF-8 (byte {error.start}).")
        except BadTermsFile as bad:
            problems += [f"{path}: {problem}" for problem in bad.problems]
        else:
            if twin := next((file for file, other in found.items() if other[:2] == version[:2]), None):
                problems.append(f"{path}: {version.slug} v{version.version} is also in {twin}.")
            found[str(path)] = version
    if problems:
        raise could_not_run("\n".join(problems))
    return found


def files_of(files: dict[str, Version], one: Loaded) -> str:
    return next(file for file, version in files.items() if version[:2] == one[:2])


def _files(paths: list[str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise could_not_run(f"There is no *.toml in {path}.")
        found += inside
    return list(dict.fromkeys(found))

"""What the site adds to `docs/`: notebooks, commands, probes, and files that pages link to."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath, relpath

from _command_line import command_line
from _probe_cards import probe_cards
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add notebooks, generated pages, and files of the repository that a page links to."""
    files.append(File.generated(config, "command_line.md", content=command_line()))
    files.append(File.generated(config, "probes.md", content=probe_cards()))
    pages = [f"docs/{page.src_uri}" for page in files.documentation_pages() if page.abs_src_path]
    wanted = [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    for page in pages:
        wanted += _leads_outside(page)
    published: set[str] = set()
    while wanted:
        target = wanted.pop()
        if target not in published:
            published.add(target)
            wanted += _leads_outside(target)
            _publish(target, files, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links between files of the repository to where the site has them."""
    here = page.file.src_uri
    origin = next((each for each in _origins(here) if (ROOT / each).is_file()), f"docs/{here}")

    def moved(match: re.Match[str]) -> str:
        target = normpath(f"{origin}/../{match[1]}")
        if not (ROOT / target).is_file():
            return match[1]
        return relpath(_uri(target), here.rpartition("/")[0] or ".")

    return _LINK.sub(moved, markdown)


def _publish(target: str, files: Files, config: MkDocsConfig) -> None:
    """Add a file of the repository to the site: notebooks and scripts as pages."""
    uri, path = _uri(target), ROOT / target
    if target.endswith(".ipynb"):
        for name, content in _notebook(path).items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
        return
    content = None
    if target.endswith(".py"):
        content = f"# `{target}`\n\n````python\n{path.read_text(encoding='utf-8')}````\n"
    elif target.endswith(".md"):
        content = path.read_text(encoding="utf-8")
    where = {"abs_src_path": str(path)} if content is None else {"content": content}
    files.append(File.generated(config, uri, inclusion=InclusionLevel.NOT_IN_NAV, **where))


def _leads_outside(page: str) -> list[str]:
    """Files outside `docs/` that a Markdown file of the repository links to."""
    if not page.endswith(".md"):
        return []
    links = _LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    targets = (normpath(f"{page}/../{link}") for link in links)
    return [each for each in targets if not each.startswith("docs/") and (ROOT / each).is_file()]


def _uri(target: str) -> str:
    """Where the site has a file of the repository."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.endswith(".ipynb"):
        return f"tutorials/{Path(target).stem}.md"
    return f"files/{target}.md" if target.endswith(".py") else f"files/{target}"


def _origins(uri: str) -> tuple[str, ...]:
    """Which files of the repository a page of the site may have been made from."""
    inside = uri.removeprefix("files/")
    return (f"docs/{uri}", f"notebooks/{Path(uri).stem}.ipynb", inside, inside.removesuffix(".md"))


def _notebook(path: Path) -> dict[str, str | bytes]:
    """A notebook with the outputs that it was saved with, as one page and its pictures."""
    from nbconvert import MarkdownExporter

    resources = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, made = MarkdownExporter().from_filename(str(path), resources=resources)
    # Pages are served as folders, so that a picture lies beside its page, not below.
    return {f"{path.stem}.md": text, **made["outputs"]}

"""What the documentation asks its readers to type: pages, fenced blocks, commands, words."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(unpaired [^`]+)`(?!`)")
RAN_THEN = {"docs/results.md", "docs/decisions.md"}  # inline they quote what was typed at the time


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with its language and the line that it begins at."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """The commands of a shell block: lines with their continuations, loops whole."""
        found, depth = [], 0
        text = self.text.replace("\\\n", "\\\0")
        for line in text.split("\n"):
            line = line.replace("\\\0", "\\\n")
            if depth:
                found[-1] += "\n" + line
            elif line.strip() and not line.startswith("#"):
                found.append(line)
            depth += len(re.findall(r"\bdo$", line)) - len(re.findall(r"\bdone\b", line))
        return found


def pages():
    """The pages, by their paths in the repository; what is told of releases is none."""
    course = sorted((ROOT / "learn").rglob("*.md"))
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files + course}


def blocks(language=None):
    """The fenced blocks of all pages, or those of one language."""
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2])
        for page, text in pages().items()
        for match in FENCE.finditer(text)
        if language in (None, match[1].strip())
    ]


def inline():
    """(page, command) of the commands of `unpaired` that stand within sentences and tables."""
    for page, text in pages().items():
        if page not in RAN_THEN:
            for match in INLINE.finditer(FENCE.sub("", text)):
                yield page, " ".join(match[1].replace("\\|", "|").split())


def simple_commands(text):
    """The words of each program that a shell command starts, without what the shell takes."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words, found, skip = [], [], False
    for word in [*_without_comment(lexer), ";"]:
        if skip:
            skip = False
        elif word in (">", ">>", "<"):
            skip = True
        elif set(word) <= set("();&|"):
            found += [words] if words else []
            words = []
        elif not words and (word in ("do", "done") or re.match(r"\w+=", word)):
            continue
        else:
            words.append(word)
    return [words for words in found if words[0] not in ("for", "wait", "$")]


def _without_comment(words):
    for word in words:
        if word.startswith("#"):
            return
        yield word


def words_of_unpaired(text):
    """The words after `unpaired` of each call of it in a command, however it is started."""
    for words in simple_commands(text):
        if words[0] == "unpaired":
            yield words[1:]
        elif "unpaired" in words and words[words.index("unpaired") - 1] == "-m":
            yield words[words.index("unpaired") + 1 :]
        elif words[0] == "srun" and "-c" in words:
            yield from words_of_unpaired(words[words.index("-c") + 1])

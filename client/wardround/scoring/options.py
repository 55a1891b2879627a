"""Which lettered option an answer chooses.

Two readings, reported side by side. *Strict* accepts an answer that consists of one letter, alone or with that
option's own text behind it ("B", "(B)", "The correct answer is B: 5 mg"). *Lenient* accepts what is strict and
also, in this order:

1. what the last verdict in the answer names, by letter or by text: "… so the answer is **B**", "Answer: (B)",
   "I would choose B because …", "option B is correct", "Therefore, B.";
2. the only option that is named at all, by a letter that is marked as one ("(B)", "option B", "B: …" at the
   beginning of a line) or by its whole text. "5 mg" is not in "15 mg", in "2.5 mg" or in "5 mg daily" if that is
   an option too.

A capital letter in a sentence is no option: an article, "I", vitamin B, hepatitis C, stage D, E. coli. Neither
reading guesses: a verdict for two letters, two options without a verdict, and a letter with the text of another
option are unparsed. An answer that declines is told apart from one that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

REFUSALS = (
    "cannot answer",
    "can't answer",
    "can not answer",
    "cannot be answered",
    "can't be answered",
    "unable to answer",
    "not able to answer",
    "cannot determine",
    "can't determine",
    "cannot be determined",
    "can't be determined",
    "unable to determine",
    "not able to determine",
    "not possible to determine",
    "not enough information",
    "insufficient information",
    "no information",
    "cannot provide",
    "can't provide",
    "i don't know",
    "i do not know",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "as an ai",
    "as a language model",
)
"""The phrases of an answer that declines; case, kind of apostrophe and blanks do not matter."""


@dataclass(frozen=True, slots=True)
class Option:
    """The letter chosen under each reading; None if the answer could not be read so.

    `refused`: the answer is empty or declines, and names no option. Neither letter nor refusal: unparsed.
    """

    strict: str | None
    lenient: str | None
    refused: bool


def parse_option(answer: str, options: Mapping[str, str], *, refusals: Sequence[str] = REFUSALS) -> Option:
    """Read `answer` for one of `options`, a mapping of capital letters to their texts."""
    plain = _plain(answer)
    texts = {letter: _folded(text) for letter, text in options.items()}
    reader = _Reader(plain, texts, _patterns(tuple(texts)))
    strict = reader.strict()
    if strict is not None:
        return Option(strict, strict, False)
    declines = _declining(tuple(refusals))
    lenient = reader.lenient(declines)
    return Option(None, lenient, lenient is None and (not plain or declines.search(_folded(plain)) is not None))


def parse_option_clue(answer: str) -> str | None:
    """The letter as CLUE's code finds it in every version: the first "The correct answer is X:", nothing else.

    X is any word character, in that very case and spelling (github.com/TIO-IKIM/CLUE, MIT,
    eval/eval_LongHealth.py).
    """
    found = re.search(r"The correct answer is (\w):", answer)
    return found.group(1) if found else None


# A letter alone in Markdown's emphasis or in LaTeX's box is as good as one in brackets.
_EMPHASISED = re.compile(r"(?<![\w*_`])(?:\*{1,3}|_{1,3}|`)[(\[]?([A-Z])[)\]]?([:.)]?)(?:\*{1,3}|_{1,3}|`)(?![\w*_`])")
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text\{)?\s?([A-Z])\s?\}{1,2}\$?")
_MARKUP = re.compile(r"[*`]+|(?<![^\W_])_+|_+(?![^\W_])|^[ \t]*#{1,6}(?=\s)", re.M)


def _plain(answer: str) -> str:
    """`answer` without markup, its blanks single and its line breaks kept, so that no pattern runs long."""
    text = answer.replace("’", "'").replace("‘", "'")
    if any(mark in text for mark in "\\*_`#"):  # most texts are plain options
        text = _MARKUP.sub("", _EMPHASISED.sub(r"(\1)\2", _BOXED.sub(r" (\1) ", text)))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _folded(text: str) -> str:
    return " ".join(_plain(text).split()).casefold()


def _words(folded: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", folded))


@lru_cache(maxsize=16)
def _declining(refusals: tuple[str, ...]) -> re.Pattern[str]:
    phrases = "|".join(re.escape(_folded(phrase)) for phrase in refusals)
    return re.compile(rf"(?<!\w)(?:{phrases})(?!\w)" if phrases else r"(?!)")


@dataclass(frozen=True, slots=True)
class _Patterns:
    strict: re.Pattern[str]
    letter: re.Pattern[str]
    joined: re.Pattern[str]
    joined_before: re.Pattern[str]
    is_right: re.Pattern[str]
    named: re.Pattern[str]


_NOUN = r"(?:answer|option|choice|letter|alternative|response)"
_ADVERBS = r"(?:(?:most\s+likely|likely|probably|clearly|therefore|thus|indeed|definitely|simply|just)\s+)*"
_QUOTES = r"[(\[\"'“]{0,3}"
_UNQUOTES = r"[)\]\"'”]{0,3}"
# What comes before the thing chosen: "the answer is", "Answer:", "I would choose", "Therefore,".
_INTRODUCTION = re.compile(
    rf"\b(?:(?:{_NOUN}|verdict|conclusion|solution)(?:\s+(?:here|to\s+(?:the|this)\s+question))?"
    r"(?:\s?[:=]|\s+(?:is|would\s+be|should\s+be|must\s+be|will\s+be|remains)\b\s?:?)"
    r"|(?:choose|chose|select|selected|pick|picked|go\s+with|opt\s+for|opted\s+for|settle\s+on|settled\s+on)\b:?"
    r"|(?:so|therefore|thus|hence)\s?[,:])"
    rf"\s?{_ADVERBS}(?:(?:the\s+)?{_NOUN}\s+)?{_QUOTES}",
    re.I,
)
# "the wrong answer is", "if the answer is", "I would not choose", "cannot pick".
_NO_VERDICT_BEFORE = re.compile(
    r"(?:\b(?:incorrect|wrong|false|if|whether|not|never|cannot|neither|nor|unlikely)|n't)"
    r"\s+(?:(?:the|a|an|correct|right|best|simply|just)\s+)*$",
    re.I,
)
_NEGATION_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|cannot\s+be|rather\s+than|instead\s+of|exclude|excludes|excluding|rules?\s+out)|n't)"
    r"\s+(?:(?:a|an|the|be|option|answer|choice)\s+)*[\W_]*$",
    re.I,
)
_NEGATION_AFTER = re.compile(
    r"[)\]\"'”:]{0,3}\s?(?:(?:is|was|would\s+be|seems|can\s+be|could\s+be|does|did)\s(?:\w+\s)?"
    r"(?:not\b|incorrect|wrong|false|ruled\s+out|excluded|unlikely)|\w+n't\b|cannot\b|(?:incorrect|wrong|false)\b)",
    re.I,
)
_NEGATION_WORD = re.compile(r"\b(?:not|no|never|without|neither|nor|cannot|unlikely|instead|rather)\b|n't\b", re.I)
# Words behind which a letter in brackets is part of a name.
_NAME_BEFORE = re.compile(
    r"\b(?:vitamins?|hepatitis|stages?|groups?|types?|grades?|class|influenza|factors?|ha?emophilia|figure|table"
    r"|panel|part|appendix|segment|child-pugh|blood|immunoglobulin|ig|protein|lead|phase|category|ward|room)\s*$",
    re.I,
)
# Words that may stand before a bare letter that "is correct"; before "vitamin" they do not.
_BARE_BEFORE = re.compile(
    rf"(?:^|[.!?:;,\n(\[\"'“-]\s?|\b(?:{_NOUN}|statement|so|therefore|thus|hence|that|think|believe|conclude|and|but)\s)"
    r"[(\[\"'“]{0,3}$",
    re.I,
)
# "I do not think that B is correct."
_DOUBT_BEFORE = re.compile(
    r"(?:\b(?:not|cannot|never|unlikely|false|whether|if)|n't)\s+(?:(?:be|think|believe|conclude|say|agree|that|the|"
    r"option|answer|choice)\s+)*[(\[\"'“]{0,3}$",
    re.I,
)
# What may follow a letter that stands for an option. A full stop before a small letter belongs to "E. coli".
_LETTER_ENDS = re.compile(
    r"[)\]\"'”]{0,3}(?:\s?$|\s?\n|\s?[:;!?,()\[\]]|\.(?:\s?$|[)\]\"'”\n]|\s[^\Wa-z]|\s\W)|\s[-–—]+\s"
    r"|\s(?:because|since|as|due\s+to|based\s+on|which|according|for|so|but|from)\b)",
)
_FIRST_LETTER_ENDS = re.compile(r",|\s(?:because|since)\b|\s[-–—]+\s")
_TEXT_ENDS = re.compile(r"\s?$|\s?[,;:!?)\]\"'”(]|\.(?!\w)")
_BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")
_BETWEEN = re.compile(r"[\s:.,()\[\]\"'”“\-–—]*")


@lru_cache(maxsize=64)
def _patterns(letters: tuple[str, ...]) -> _Patterns:
    one = "(?:" + "|".join(map(re.escape, letters)) + ")" if letters else "(?!)"
    alone = rf"(?P<letter>{one})(?![\w+])(?![-']\w)"
    joint = r"\s?(?:,\s?(?:or|and)?|/|\||&|\b(?:or|and|nor))\s?"
    right = (
        r"(?:(?:the\s+)?(?:(?:most|single|only|one)\s+)*(?:correct|right|best|appropriate|accurate)\s+"
        rf"(?:{_NOUN}|one)\b|the\s+answer\b|(?:correct|right)(?=\s?(?:[.,;:!)\n]|$|because|since|as\b)))"
    )
    return _Patterns(
        strict=re.compile(
            rf"{_QUOTES}(?:(?:the\s+)?(?:(?:correct|right|best|final|most\s+likely)\s+)*{_NOUN}\s*(?:is\b|[:=])?\s*:?\s*"
            rf"(?:{_NOUN}\s+)?)?{_QUOTES}(?P<letter>{one})(?![\w+]){_UNQUOTES}(?P<rest>.*)",
            re.I | re.S,
        ),
        letter=re.compile(rf"{alone}|(?P<small>(?i:{one}))(?=[:)])"),
        joined=re.compile(rf"{_UNQUOTES}{joint}{_QUOTES}{one}(?!\w)(?![-'+]\w)"),
        joined_before=re.compile(rf"(?<!\w){one}{_UNQUOTES}{joint}{_QUOTES}(?i:{_NOUN}\s)?{_QUOTES}$"),
        is_right=re.compile(
            rf"(?<![\w-]){alone}{_UNQUOTES}(?:\s?\([^()\n]{{1,200}}\))?"
            rf"\s(?i:(?:is|would\s+be|must\s+be|seems|appears\s+to\s+be|remains)\s+{_ADVERBS}{right})"
        ),
        named=re.compile(
            rf"[(\[](?P<bracket>{one})[)\]]"
            rf"|(?i:\b{_NOUN}s?)\s[\"'“(\[]?(?P<noun>{one})(?!\w)(?![-+]\w)"
            rf"|^(?:[-•>]\s?)?[\"'“]?(?P<line>{one})(?=\s?[:.)](?:\s|$)|$)"
            rf"|\A[\"'“]?(?P<start>{one})(?!\w)",
            re.M,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """One answer against the options of its question; `texts` are folded."""

    plain: str
    texts: Mapping[str, str]
    patterns: _Patterns

    def strict(self) -> str | None:
        found = self.patterns.strict.fullmatch(self.plain)
        if found is None:
            return None
        letter = found["letter"].upper()
        rest, own = _words(_folded(found["rest"])), _words(self.texts.get(letter, ""))
        # A beginning of the text will do, where the cap on new tokens cut it; "D, A" is no beginning of D's.
        if letter not in self.texts or not (rest in ("", own) or (len(rest) > 1 and own.startswith(rest))):
            return None
        # "B: 5" is a beginning of "50 mg"; where 5 is another option's whole text, it is that one's.
        whole_words = f"{own} ".startswith(f"{rest} ") or not rest
        others = [_words(text) for other, text in self.texts.items() if other != letter]
        return letter if whole_words or rest not in others else None

    def lenient(self, declines: re.Pattern[str]) -> str | None:
        verdicts = sorted([*self._introduced(), *self._called_right()], key=lambda verdict: verdict[0])
        if verdicts:
            return verdicts[-1][1]
        texts, letters = self._texts_named(), self._letters_named()
        named = texts | letters
        if len(named) != 1:
            return None
        (letter,) = named
        declined = declines.search(_folded(self.plain)) is not None
        # "Question cannot be answered" may itself be an option.
        return None if declined and not (texts and declines.search(self.texts[letter])) else letter

    def _introduced(self) -> Iterator[tuple[int, str | None]]:
        """Place and letter of what a phrase like "the answer is" names; None for a verdict that does not settle."""
        for phrase in _INTRODUCTION.finditer(self.plain):
            before = self.plain[max(0, phrase.start() - 40) : phrase.start()]
            if _NO_VERDICT_BEFORE.search(before):
                continue
            by_text = self._text_at(phrase.end())
            found = self.patterns.letter.match(self.plain, phrase.end())
            if by_text:
                # "5 mg (B)" where 5 mg is another option.
                line = self.plain[phrase.end() : phrase.end() + _LONGEST_SENTENCE].partition("\n")[0]
                agreed = {*_BRACKETED.findall(line)} & {*self.texts} <= {by_text}
                yield phrase.start(), by_text if agreed else None
            elif found:
                letter = (found["letter"] or found["small"]).upper()
                if letter not in self.texts:
                    continue
                if self.patterns.joined.match(self.plain, found.end()):
                    yield phrase.start(), None
                elif self._letter_ends(letter, found.end()):
                    yield phrase.start(), None if self._text_of_another(letter, found.end()) else letter

    def _called_right(self) -> Iterator[tuple[int, str | None]]:
        """Place and letter of "option B is correct", "(B) is the best answer"."""
        for found in self.patterns.is_right.finditer(self.plain):
            before = self.plain[max(0, found.start() - 40) : found.start()]
            if not _BARE_BEFORE.search(before) or _DOUBT_BEFORE.search(before):
                continue
            yield found.start(), None if self.patterns.joined_before.search(before) else found["letter"]

    def _letters_named(self) -> set[str]:
        named: set[str] = set()
        for found in self.patterns.named.finditer(self.plain):
            form = found.lastgroup or ""
            if found[form] in named:
                continue
            before = self.plain[max(0, found.start() - 40) : found.start()]
            if form == "bracket" and _NAME_BEFORE.search(before):
                continue
            if form == "line" and not self._letter_ends(found[form], found.end()):
                continue
            if form == "start" and not self._begins_answer(found.end()):
                continue
            if _NEGATION_BEFORE.search(before) or _NEGATION_AFTER.match(self.plain, found.end()):
                continue
            if not self._text_at(found.start(form)):
                named.add(found[form])
        return named

    def _texts_named(self) -> set[str]:
        """The options whose whole text occurs, the longest first; what one covers counts for no other."""
        answer = _folded(self.plain)
        covered = bytearray(len(answer))
        named: set[str] = set()
        for text in sorted(self._telling_texts(), key=len, reverse=True):
            for start, end in _occurrences(answer, text):
                if any(covered[start:end]):
                    continue
                covered[start:end] = b"\1" * (end - start)
                letters = {letter for letter, own in self.texts.items() if own == text}
                if not letters <= named and not _NEGATION_WORD.search(_sentence_before(answer, start)):
                    named |= letters
        return named

    def _telling_texts(self) -> set[str]:
        """The texts that tell of an option; "B", a blood group, is rather taken for the letter."""
        return {text for text in self.texts.values() if text and text.upper() not in self.texts}

    def _text_at(self, place: int) -> str | None:
        """The option whose text, and then a mark or the end, stands at `place`; None if there are two."""
        here = self._window(place)
        text = max((text for text in self._telling_texts() if here.startswith(text)), key=len, default="")
        letters = [letter for letter, own in self.texts.items() if text and own == text]
        if not _TEXT_ENDS.match(here, len(text)):
            return None
        return letters[0] if len(letters) == 1 else None

    def _letter_ends(self, letter: str, place: int) -> bool:
        """Whether the letter before `place` stands for itself and begins no other word or name."""
        if _LETTER_ENDS.match(self.plain, place):
            return True
        own = self.texts[letter]
        return bool(own) and self._follows(place).startswith(own)

    def _begins_answer(self, place: int) -> bool:
        """Whether the letter before `place`, the first of the answer, is no article: "B because", "B (5 mg)"."""
        if self.patterns.joined.match(self.plain, place):
            return False
        told = self._follows(place).startswith(tuple(self._telling_texts()))
        return told or _FIRST_LETTER_ENDS.match(self.plain, place) is not None

    def _text_of_another(self, letter: str, place: int) -> bool:
        """Whether the whole text of another option than `letter` follows at `place`."""
        follows, own = self._follows(place), self.texts[letter]
        said = [other for other in self.texts.values() if other and (0, len(other)) in _occurrences(follows, other)]
        longest = max(said, key=len, default="")
        return bool(longest) and not own.startswith(longest) and not follows.startswith(own or "\0")

    def _follows(self, place: int) -> str:
        """The beginning of what comes after `place` and marks, folded."""
        between = _BETWEEN.match(self.plain, place)
        return self._window(between.end() if between else place)

    def _window(self, place: int) -> str:
        longest = max(map(len, self.texts.values()), default=0)
        return _folded(self.plain[place : place + 2 * longest + 20])


# "2.5 mg" is not 5 mg, "24/26" not 26, "5-10 mg" not 10 mg, "<5" not 5, "5 mg/kg" not 5 mg.
_NUMBER_GOES_ON_BEFORE = re.compile(r"\d[.,:]$|\d\s?[/x×–-]\s?$|[<>≤≥±+−]\s?$|(?<![\w)])-$")
_NUMBER_GOES_ON_AFTER = re.compile(r"[.,:]\d|\s?[x×–-]\s?\d|/\w")
# Half of English is "no", and "4" stands in many dates: such a text counts only where it is all that a clause says.
_COMMON = re.compile(r"[^\W\d_]{1,4}|[\d\s.,/%+-]+")
_CLAUSE_BEGINS = re.compile(r"(?:^|[.!?:;,(\"“]\s?)$")
_CLAUSE_ENDS = re.compile(r"\s?(?:$|[.!?;,)\"”])")
_SENTENCE_ENDS = re.compile(r"[.!?;:]\s")
_LONGEST_SENTENCE = 400


def _occurrences(answer: str, text: str) -> list[tuple[int, int]]:
    """Where `text` stands in `answer` as whole words and whole numbers, (start, end) each."""
    found = []
    start = answer.find(text)
    while start >= 0:
        end = start + len(text)
        if _is_whole(answer[max(0, start - 4) : start], text, answer[end : end + 4]):
            found.append((start, end))
        start = answer.find(text, start + 1)
    return found


def _is_whole(before: str, text: str, after: str) -> bool:
    if (before[-1:].isalnum() and text[0].isalnum()) or (after[:1].isalnum() and text[-1].isalnum()):
        return False
    if text[0].isdigit() and (_NUMBER_GOES_ON_BEFORE.search(before) or after[:1] == "/"):
        return False
    if text[-1].isdigit() and _NUMBER_GOES_ON_AFTER.match(after):
        return False
    alone = _CLAUSE_BEGINS.search(before) is not None and _CLAUSE_ENDS.match(after) is not None
    return alone or not _COMMON.fullmatch(text)


def _sentence_before(answer: str, place: int) -> str:
    return _SENTENCE_ENDS.split(answer[max(0, place - _LONGEST_SENTENCE) : place])[-1]

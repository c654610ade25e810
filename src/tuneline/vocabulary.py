"""A tokenizer trained on the texts of the training rows, for a model that starts from nothing."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tuneline.errors import ParamsError
from tuneline.params import TrainedTokenizer

PAD, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
ROLES = {
    "pad_token": PAD,
    "unk_token": UNKNOWN,
    "cls_token": START,
    "bos_token": START,
    "sep_token": END,
    "eos_token": END,
    "mask_token": MASK,
}


def trained(params: TrainedTokenizer, texts: Sequence[str]) -> Tokenizer:
    """A tokenizer with vocab_size tokens. The same texts in the same order give the same one.

    ParamsError when the texts do not hold as many different pieces as that.
    """
    tokenizer = KINDS[params.type](params, texts)
    found = tokenizer.get_vocab_size()
    if found != params.vocab_size:
        found_less = f"give {found:,} pieces. Set it to {found:,} or less, or bring more text."
        found_more = f"have {found:,} different characters and special tokens. Raise it."
        raise ParamsError(
            f"tokenize.tokenizer.vocab_size: is {params.vocab_size:,}, but the training texts "
            f"{found_less if found < params.vocab_size else found_more}"
        )
    start, end = (START, tokenizer.token_to_id(START)), (END, tokenizer.token_to_id(END))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", pair=f"{START} $A {END} $B:1 {END}:1", special_tokens=[start, end]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json, as a checkpoint has them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **ROLES}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _wordpiece(params: TrainedTokenizer, texts: Sequence[str]) -> Tokenizer:
    """Words, and ## before the pieces that go on in one (Devlin et al. 2019).

    Its trainer numbers the letters anew in each run, and with them breaks ties. So they are given to it as special
    tokens, in order, and the tokenizer is made of what it finds.
    """

    def untrained(vocabulary: dict[str, int]) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=params.lowercase, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    learner = untrained({})
    letters = sorted(set().union(*(learner.normalizer.normalize_str(text) for text in texts)) - {" "})
    inner = [f"##{letter}" for letter in letters if len(_words(learner, f"a{letter}a")) == 1]
    _train(learner, texts, trainers.WordPieceTrainer, params.vocab_size, [*SPECIAL, *letters, *inner])
    tokenizer = untrained(learner.get_vocab())
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _bpe(params: TrainedTokenizer, texts: Iterable[str]) -> Tokenizer:
    """Byte pairs over bytes: no text has an unknown token (Radford et al. 2019)."""
    tokenizer = Tokenizer(models.BPE())
    if params.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, texts, trainers.BpeTrainer, params.vocab_size,
           [*SPECIAL], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    return tokenizer


def _train(
    tokenizer: Tokenizer, texts: Iterable[str], trainer: type, size: int, special: list[str], **options: list[str]
) -> None:
    made = trainer(vocab_size=size, special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator(texts, made)


# No unigram: what its trainer finds differs from run to run (tokenizers 0.23).
KINDS = {"wordpiece": _wordpiece, "bpe": _bpe}

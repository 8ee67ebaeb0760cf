"""The name of a column -> whether it is a loss (low is good), a score (high is good), or no result of a run at all.

A name is read as words (`eval/arcEasy_acc_norm` is eval arc easy acc norm), and the last word that says something decides:
`acc_loss` is a loss, `loss/acc` a score.
"""

import re
from typing import Literal

from proxymix.schemas import is_domain_loss

Kind = Literal["loss", "score", "bookkeeping", "unknown"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOSS_WORDS = _names(
    "loss losses nll bpb bpc bpt ppl perplexity bits nats ce xent crossentropy entropy error err wer cer ter mse mae rmse "
    "logloss brier surprisal toxicity"
)
SCORE_WORDS = _names(
    "acc accuracy f1 em exact exactmatch bleu sacrebleu chrf rouge rouge1 rouge2 rougel meteor score scores reward winrate "
    "win pass precision recall auc auroc auprc mcc mrr ndcg iou correct correctness success likelihood loglikelihood "
    "logprob logprobs logp elo kappa r2 spearman pearson truthful"
)
BOOKKEEPING = _names(
    "timestamp step steps runtime epoch epochs iteration iterations iter seed wall time created updated state status user "
    "tags notes sweep wandb lr learning_rate batch_size num_tokens tokens tokens_seen samples num_samples samples_seen "
    "global_step train_step trainer/global_step elapsed duration relative_time wall_time throughput rank host hostname "
    "num_params params parameters flops grad_norm version date total_tokens num_steps walltime time_elapsed gpu group "
    "job_type run_time index run run_id name id row"
)
"""Whole names, in lower case and with `_` for spaces, that say how a run went and not how good it is."""
SPREAD_WORDS = _names("stderr std stdev stddev sd variance min max count")
"""Last words of a column that goes with another one."""


def kind_of(column: str) -> Kind:
    """What a column holds, as far as its name says."""
    if is_domain_loss(column):
        return "loss"
    words = words_of(column)
    name = re.sub(r"[\s_]+", "_", column.strip().lower())
    parts = [name, name.rpartition("/")[2]]
    if column.startswith("_") or any(part in BOOKKEEPING for part in parts):
        return "bookkeeping"
    if SPREAD_WORDS.intersection(words[-1:]) or "stderr" in words:
        return "bookkeeping"
    for position in range(len(words) - 1, -1, -1):
        word = words[position]
        if word in LOSS_WORDS:
            return "loss"
        if word in SCORE_WORDS:
            negated = word in ("likelihood", "loglikelihood", "logprob", "logprobs", "logp")
            return "loss" if negated and {"neg", "negative"}.intersection(words[:position]) else "score"
    return "unknown"


def is_training_loss(column: str) -> bool:
    """Whether a loss is that of the training data, which every mixture has a different share of."""
    return bool({"train", "training"}.intersection(words_of(column)))


def words_of(column: str) -> list[str]:
    """The words of a name in lower case; capitals within a word begin a new one."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", column)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]

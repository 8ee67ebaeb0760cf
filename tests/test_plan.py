"""The training stream: quotas, epochs, and what stays the same when something else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_training.runs.plan import block_stream, item_quotas, training_plan
from proxymix.errors import InputError

weights_of_domains = st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 7.0]), min_size=1, max_size=6).filter(any)
sizes_of_domains = st.lists(st.integers(1, 40), min_size=6, max_size=6)


def mixture(weights):
    return {f"d{number}": weight / sum(weights) for number, weight in enumerate(weights)}


def test_quotas_go_to_the_largest_remainders():
    # shares 3.75, 3.75, 2.5: one item is missing after 3 + 3 + 2, two after the first
    np.testing.assert_array_equal(item_quotas(np.array([0.375, 0.375, 0.25]), 10), [4, 4, 2])
    np.testing.assert_array_equal(item_quotas(np.array([0.5, 0.5, 0.0]), 3), [2, 1, 0])


@given(weights_of_domains, st.integers(1, 500))
def test_quotas_sum_to_the_items_and_are_within_one_of_the_weights(weights, num_items):
    shares = np.array(weights) / sum(weights)
    quotas = item_quotas(shares, num_items)
    assert quotas.sum() == num_items
    assert (np.abs(quotas - shares * num_items) < 1).all()
    assert not quotas[shares == 0].any()


@given(weights_of_domains, sizes_of_domains, st.integers(1, 300), st.integers(0, 3))
def test_the_stream_feeds_exactly_the_quotas_and_every_block_once_before_any_comes_again(
    weights, sizes, num_items, seed
):
    weights = mixture(weights)
    num_blocks = dict(zip(weights, sizes, strict=False))
    plan = training_plan(weights, num_blocks, num_items, seed)
    assert len(plan.domain) == len(plan.block) == num_items
    assert list(plan.quotas.values()) == item_quotas(np.array(list(weights.values())), num_items).tolist()
    for number, name in enumerate(plan.domains):
        blocks = plan.block[plan.domain == number]
        size = num_blocks[name]
        assert plan.epochs[name] == pytest.approx(len(blocks) / size)
        for start in range(0, len(blocks), size):
            one_epoch = blocks[start : start + size]
            assert len(set(one_epoch)) == len(one_epoch) and ((one_epoch >= 0) & (one_epoch < size)).all()


@given(sizes_of_domains, st.integers(1, 300), st.integers(0, 3))
def test_a_domain_meets_its_blocks_in_the_same_order_whatever_the_other_weights(sizes, num_items, seed):
    num_blocks = {f"d{number}": size for number, size in enumerate(sizes)}
    few = training_plan(mixture([1, 1, 0, 2]), num_blocks, num_items, seed)
    many = training_plan(mixture([5, 1, 3, 1]), num_blocks, num_items, seed)
    for number in range(4):
        a, b = few.block[few.domain == number], many.block[many.domain == number]
        shared = min(len(a), len(b))
        np.testing.assert_array_equal(a[:shared], b[:shared])


def test_the_same_seed_gives_the_same_stream_and_another_seed_another():
    def stream(seed):
        plan = training_plan({"a": 0.5, "b": 0.5}, {"a": 50, "b": 50}, 60, seed)
        return plan.domain.tolist(), plan.block.tolist()

    assert stream(1) == stream(1)
    assert stream(1)[0] != stream(2)[0] and stream(1)[1] != stream(2)[1]


def test_a_small_domain_repeats_in_a_fresh_order_while_a_large_one_goes_on():
    plan = training_plan({"small": 0.5, "large": 0.5}, {"small": 10, "large": 1000}, 60, seed=0)
    small, large = plan.block[plan.domain == 0], plan.block[plan.domain == 1]
    assert plan.epochs == {"small": 3.0, "large": 0.03}
    assert sorted(small[:10]) == sorted(small[10:20]) == list(range(10))
    assert small[:10].tolist() != small[10:20].tolist()
    assert len(set(large)) == 30


def test_domains_of_equal_size_do_not_share_their_order():
    assert block_stream("a", 100, 100, seed=0).tolist() != block_stream("b", 100, 100, seed=0).tolist()


def test_a_slightly_other_mixture_keeps_the_domain_of_nearly_every_item():
    sizes = {"a": 100, "b": 100}
    one = training_plan({"a": 0.50, "b": 0.50}, sizes, 1000, seed=0)
    other = training_plan({"a": 0.51, "b": 0.49}, sizes, 1000, seed=0)
    assert (one.domain != other.domain).sum() == 10


def test_a_domain_without_a_whole_block_is_an_error_only_when_it_has_a_weight():
    with pytest.raises(InputError, match=r"tiny 0\.1 .*train\.sequence_length"):
        training_plan({"a": 0.9, "tiny": 0.1}, {"a": 5, "tiny": 0}, 20, seed=0)
    with pytest.raises(InputError, match="typo"):
        training_plan({"a": 0.9, "typo": 0.1}, {"a": 5}, 20, seed=0)
    assert training_plan({"a": 1.0, "tiny": 0.0}, {"a": 5, "tiny": 0}, 20, seed=0).quotas == {"a": 20, "tiny": 0}

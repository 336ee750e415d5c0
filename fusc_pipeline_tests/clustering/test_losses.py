"""The FUSC loss against equation 1 written as loops; the self-labelling loss against sums by hand."""

import math

import pytest
import torch

from fusc_pipeline.clustering.losses import confident_targets, fusc_loss, self_label_loss


def equation_1(anchors, neighbours, entropy_weight):
    """FUSC's equation 1 word for word, over probabilities; 1/|D| of both sums, as the paper's first term has."""
    n, consistency = len(anchors), 0.0
    for anchor, near in zip(anchors, neighbours, strict=True):
        for neighbour in near:
            consistency -= math.log(sum(float(a) * float(b) for a, b in zip(anchor, neighbour, strict=True)))
    uniformity = 0.0
    for cluster in range(anchors.shape[1]):
        mean = sum(float(anchor[cluster]) for anchor in anchors) / n
        uniformity += mean * math.log(mean)
    return consistency / n + entropy_weight * uniformity


def draw(batch, n_neighbours, clusters, scale=2.0):
    generator = torch.Generator().manual_seed(batch + 10 * n_neighbours + 100 * clusters)
    anchors = torch.randn(batch, clusters, generator=generator) * scale
    return anchors, torch.randn(batch, n_neighbours, clusters, generator=generator) * scale


@pytest.mark.parametrize("batch", [1, 4, 9])
@pytest.mark.parametrize("n_neighbours", [1, 3, 20])
@pytest.mark.parametrize("clusters", [2, 15])
@pytest.mark.parametrize("weight", [0.0, 2.0, 5.0])
def test_the_loss_is_equation_1_with_the_mean_over_neighbours(batch, n_neighbours, clusters, weight):
    """Ours times the number of neighbours n is equation 1 with lambda n times as large: for n = 1 they are the same."""
    anchors, neighbours = draw(batch, n_neighbours, clusters)
    ours = fusc_loss(anchors, neighbours, weight)
    literal = equation_1(anchors.double().softmax(-1), neighbours.double().softmax(-1), weight * n_neighbours)
    assert float(ours.total) * n_neighbours == pytest.approx(literal, rel=1e-4, abs=1e-4)
    assert float(ours.total) == pytest.approx(float(ours.consistency - weight * ours.entropy), rel=1e-5, abs=1e-6)


def test_extreme_logits_keep_a_finite_loss_and_a_gradient():
    """Opposite certain predictions: log⟨p, p'⟩ underflows as a product; in the log domain it still has a slope."""
    anchors = torch.tensor([[200.0, -200.0]])
    loss = fusc_loss(anchors, torch.tensor([[[-200.0, 200.0]]]), 0.0)
    assert float(loss.total) == pytest.approx(400, abs=1)
    for weight in (0.0, 5.0):
        confident = torch.tensor([[60.0, -60.0]], requires_grad=True)
        fusc_loss(confident, torch.tensor([[[-100.0, 100.0]]]), weight).total.backward()
        assert bool(torch.isfinite(confident.grad).all()) and float(confident.grad.abs().max()) > 0.5


def test_the_loss_is_in_fp32_whatever_the_logits():
    anchors, neighbours = draw(4, 2, 5)
    assert fusc_loss(anchors.bfloat16(), neighbours.bfloat16()).total.dtype == torch.float32


def test_perfect_even_clusters_reach_the_minimum():
    """Certain, agreeing, evenly spread predictions: −λ log K, the least possible value."""
    anchors = torch.eye(4).repeat(3, 1) * 100
    found = fusc_loss(anchors, anchors.unsqueeze(1), 5.0)
    assert float(found.total) == pytest.approx(-5 * math.log(4), rel=1e-5)
    collapsed = torch.zeros(12, 4)
    collapsed[:, 0] = 100
    assert float(fusc_loss(collapsed, collapsed.unsqueeze(1), 5.0).total) == pytest.approx(0, abs=1e-5)


def test_the_memory_changes_the_entropy_and_passes_the_gradient_straight_through():
    anchors, neighbours = draw(6, 2, 5)
    memory = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1])
    share = 0.75
    anchors.requires_grad_()
    found = fusc_loss(anchors, neighbours, 1.0, memory, share)
    p = anchors.softmax(-1)
    mixed = (1 - share) * p.mean(0) + share * memory
    assert float(found.entropy.detach()) == pytest.approx(float(-(mixed * mixed.log()).sum().detach()), rel=1e-5)
    # gradient: d(entropy)/d(mean) taken at the mix, as if the batch's mean were the whole
    slope = -(mixed.log() + 1).detach()
    expected = torch.autograd.grad((p.mean(0) * slope).sum(), anchors)[0]
    assert torch.allclose(torch.autograd.grad(found.entropy, anchors)[0], expected, atol=1e-6)
    plain = fusc_loss(anchors, neighbours, 1.0, memory, 0.0)
    assert float(plain.total) == pytest.approx(float(fusc_loss(anchors, neighbours, 1.0).total), rel=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_the_mask_is_what_a_loop_finds(threshold):
    logits = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * 5
    logits[0] = torch.tensor([1000.0, 0, 0, 0, 0, 0])
    mask, targets = confident_targets(logits, threshold)
    for row, (kept, target) in enumerate(zip(mask, targets, strict=True)):
        exponentials = [math.exp(float(value - logits[row].max())) for value in logits[row]]
        best = max(exponentials) / sum(exponentials)
        assert bool(kept) == (best >= threshold) or abs(best - threshold) < 1e-6
        assert int(target) == exponentials.index(max(exponentials))
    assert bool(mask[0])


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("clusters", [2, 7])
def test_the_self_label_loss_is_the_mean_by_hand(balanced, clusters):
    generator = torch.Generator().manual_seed(clusters)
    weak, strong = torch.randn(2, 50, clusters, generator=generator) * 3
    mask, targets = confident_targets(weak, 0.8)
    losses = {cluster: [] for cluster in range(clusters)}
    for row in range(50):
        if mask[row]:
            logits = strong[row].double()
            losses[int(targets[row])].append(float(logits.exp().sum().log() - logits[targets[row]]))
    present = [values for values in losses.values() if values]
    per_cluster = [sum(values) / len(values) for values in present]
    everything = [value for values in present for value in values]
    expected = sum(per_cluster) / len(per_cluster) if balanced else sum(everything) / len(everything)
    assert float(self_label_loss(strong, mask, targets, balanced)) == pytest.approx(expected, rel=1e-5)


def test_no_gradient_reaches_the_labelling_view():
    weak = torch.randn(8, 3, requires_grad=True)
    _, targets = confident_targets(weak, 0.0)
    assert not targets.requires_grad

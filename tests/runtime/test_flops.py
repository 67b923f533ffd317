"""FLOPs counted by hand and by the ledger."""

import torch

from runtime.flops import FlopLedger


def test_flops_of_a_linear_layer_by_hand():
    layer = torch.nn.Linear(6, 16)
    x = torch.randn(8, 6)
    ledger = FlopLedger()
    assert ledger.measure(lambda: layer(x)).shape == (8, 16)
    assert ledger.total == 2 * 8 * 6 * 16
    ledger.measure(lambda: layer(x).sum().backward())
    # Once more forwards, and the gradient of the weight (x needs none).
    assert ledger.total == 3 * 2 * 8 * 6 * 16
    assert sum(ledger.by_operator.values()) == ledger.total and set(ledger.by_operator) == {"addmm", "mm"}


def test_flops_of_fused_attention_on_cpu_are_those_of_its_matrix_products():
    q, k, v = (torch.randn(2, 4, 10, 8, requires_grad=True) for _ in range(3))
    fused, plain = FlopLedger(), FlopLedger()
    fused.measure(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    plain.measure(lambda: torch.softmax(q @ k.mT, -1) @ v)
    assert fused.total == plain.total == 2 * (2 * 2 * 4 * 10 * 10 * 8)


def test_counting_flops_changes_no_number():
    torch.manual_seed(0)
    attention = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    # SiLU is here because torch's own counter decomposes its gradient.
    layer = torch.nn.Sequential(attention, torch.nn.Linear(16, 64), torch.nn.SiLU(), torch.nn.Linear(64, 16))
    x = torch.randn(2, 5, 16)
    results = []
    for measured in (True, False):
        layer.zero_grad()

        def backward():
            layer(x).square().sum().backward()

        FlopLedger().measure(backward) if measured else backward()
        results.append([p.grad.clone() for p in layer.parameters()])
    torch.testing.assert_close(*results, rtol=0, atol=0)

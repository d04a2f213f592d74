import torch

from model.network.critic import Critic, reverse_gradient
from model.training.losses import critic_loss


def test_reversed_gradients_have_the_other_sign_and_values_stay() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    same = reverse_gradient(x)
    torch.testing.assert_close(same, x)
    (same * torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(x.grad, -torch.arange(4.0).expand(3, 4))


def test_a_critic_learns_to_distinguish_noise_from_pictures() -> None:
    torch.manual_seed(0)
    critic = Critic()
    optimizer = torch.optim.AdamW(critic.parameters(), 2e-3)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        """Return smooth pictures and noise of the same size."""
        coarse = torch.rand(8, 3, 4, 4)
        smooth = torch.nn.functional.interpolate(coarse, (24, 32), mode="bilinear")
        return smooth, torch.rand(8, 3, 24, 32)

    for _ in range(40):
        filmed, noise = critic(torch.cat(batch())).chunk(2)
        optimizer.zero_grad()
        critic_loss(filmed, noise).backward()
        optimizer.step()
    with torch.no_grad():
        filmed, noise = critic(torch.cat(batch())).chunk(2)
    assert filmed.shape == (8, 1, 3, 4)
    assert float((filmed > 0).float().mean()) > 0.9 and float((noise < 0).float().mean()) > 0.9


def test_one_step_moves_critic_and_drawing_in_opposite_directions() -> None:
    torch.manual_seed(0)
    critic = Critic()
    filmed, drawn = torch.full((2, 3, 16, 16), 0.9), torch.full((2, 3, 16, 16), 0.2, requires_grad=True)
    critic_loss(*critic(torch.cat([filmed, reverse_gradient(drawn)])).chunk(2)).backward()
    assert all(parameter.grad is not None for parameter in critic.parameters())
    critic.eval()  # spectral norm does not change
    with torch.no_grad():
        before = critic_loss(critic(filmed), critic(drawn))
        assert drawn.grad is not None
        step = drawn.grad / drawn.grad.norm()
        after = critic_loss(critic(filmed), critic(drawn - 0.1 * step))  # a step of gradient descent
    assert after > before  # the step of the drawing makes the critic's loss larger


def test_in_bfloat16_its_scores_are_finite_float32() -> None:
    critic = Critic()
    with torch.autocast("cpu", torch.bfloat16):
        scores = critic(torch.rand(2, 3, 56, 96))
    assert scores.dtype == torch.float32 and bool(torch.isfinite(scores).all())

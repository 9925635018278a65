"""What every model in the table must do."""

from typing import Optional

import pytest
import torch

from anogen import MODELS, GenerativeModel, Losses, Model
from anogen.errors import UsageError
from anogen.models import find_model, model_name
from anogen.models.base import Encodes, HasLikelihood, Reconstructs
from anogen.training.state import describe

from ..conftest import GENERATIVE

SHAPES = [(1, 28, 28), (3, 17, 20)]


@pytest.fixture(params=[(name, shape) for name in MODELS for shape in SHAPES], ids=str)
def model(request) -> Model:
    name, shape = request.param
    torch.manual_seed(0)
    return MODELS[name](shape)


def batch(model: Model, count: int = 5) -> torch.Tensor:
    return torch.rand(count, *model.shape, generator=torch.Generator().manual_seed(1))


def any_condition(model: Model, count: int = 5) -> torch.Tensor | None:
    """What a model that must be conditional needs; None for others."""
    return model.condition.random(count, torch.Generator().manual_seed(2))


def test_players_share_out_all_parameters(model):
    owned = [id(p) for modules in model.players().values() for m in modules for p in m.parameters()]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())


def test_losses_are_finite_scalars_and_terms_are_per_example(model):
    losses = model.losses(batch(model), 0, any_condition(model))
    assert isinstance(losses, Losses)
    assert set(losses.players) <= set(model.players())
    assert all(loss.shape == () and loss.isfinite() for loss in losses.players.values())
    assert all(term.shape == (5,) and term.isfinite().all() for term in losses.terms.values())


def test_every_trained_parameter_gets_a_gradient_from_its_player(model):
    losses = model.losses(batch(model), 0, any_condition(model))
    for name, modules in model.players().items():
        own = [p for module in modules for p in module.parameters() if p.requires_grad]
        found = torch.autograd.grad(losses.players[name], own, retain_graph=True, allow_unused=True)
        assert all(gradient is not None and gradient.isfinite().all() for gradient in found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GENERATIVE)
def test_samples_are_images_and_follow_the_generator(name, shape):
    torch.manual_seed(0)
    model = MODELS[name](shape).eval()
    drawn = [model.sample(3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (3, *model.shape)
    assert 0 <= drawn[0].min() <= drawn[0].max() <= 1
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_abilities(model):
    model.eval()
    x = batch(model)
    if isinstance(model, Encodes):
        assert model.posterior_mean(x).dim() == 2
    if isinstance(model, GenerativeModel):
        assert model.decode(torch.zeros(2, model.latent), any_condition(model, 2)).shape == (
            2,
            *model.shape,
        )
    if isinstance(model, Reconstructs):
        of_what = any_condition(model)
        assert torch.equal(model.reconstruct(x, of_what), model.reconstruct(x, of_what))
    if isinstance(model, HasLikelihood):
        assert model.elbo(x).shape == model.log_likelihood(x, 2).shape == (5,)
        assert (model.kl(x) >= 0).all()


def test_the_arguments_build_the_same_model_again(model):
    recipe = describe(model)
    again = find_model(recipe["class_path"])(**recipe["init_args"])
    again.load_state_dict(model.state_dict())
    model.eval()
    again.eval()
    generator = torch.Generator().manual_seed
    if isinstance(model, GenerativeModel):
        assert torch.equal(model.sample(2, generator(0)), again.sample(2, generator(0)))
    if isinstance(model, Reconstructs):
        x, of_what = batch(model), any_condition(model)
        assert torch.equal(model.reconstruct(x, of_what), again.reconstruct(x, of_what))
    assert describe(again) == recipe


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 31, 31), (3, 64, 48)])
@pytest.mark.parametrize("name", MODELS)
def test_other_sizes(name, shape):
    model = MODELS[name](shape)
    if isinstance(model, GenerativeModel):
        assert model.sample(2).shape == (2, *shape)
    losses = model.losses(torch.rand(4, *shape), condition=any_condition(model, 4))
    assert all(loss.isfinite() for loss in losses.players.values())


def test_names():
    assert find_model("VAE") is MODELS["VAE"]
    assert find_model("anogen.VAE") is MODELS["VAE"]
    assert model_name(MODELS["VAE"]((1, 16, 16))) == "VAE"
    for name, message in (
        ("vea", "did you mean 'VAE'"),
        ("no.such.Model", "--allow_code"),
        ("anogen.nothing", "cannot be imported"),
        ("anogen.Images", "not a subclass"),
    ):
        with pytest.raises(UsageError, match=message):
            find_model(name)
    with pytest.raises(UsageError, match="cannot be imported: ModuleNotFoundError"):
        find_model("no.such.Model", allow_code=True)


@pytest.mark.parametrize("name", MODELS)
def test_a_shape_has_three_numbers(name):
    with pytest.raises(UsageError, match=r"\(channels, height, width\), found \(28, 28\)"):
        MODELS[name]((28, 28))


def test_numbers_are_checked_by_the_signature_however_it_is_written():
    class Own(MODELS["VAE"]):
        def __init__(
            self,
            shape,
            extra: "int",
            share: "Optional[float]" = None,  # noqa: UP045
            usual: int = None,  # noqa: RUF013
            **options,
        ):
            super().__init__(shape, **options)

    Own((1, 16, 16), 3, width=4)
    Own((1, 16, 16), 3, share=0.5, width=4)
    for wrong in ({"extra": "x"}, {"extra": 2.5}, {"extra": 3, "share": "x"},
                  {"extra": 3, "usual": "x"}, {"extra": 3, "width": "x"},
                  {"extra": 3, "beta": float("inf")}, {"extra": 3, "batch_norm": 1}):  # fmt: skip
        with pytest.raises(UsageError, match="must be"):
            Own((1, 16, 16), **wrong)

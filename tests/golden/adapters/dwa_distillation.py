"""Reference vectors of directed weight adjustment, through the public parts of the distiller."""

import torch

from polyculture.select.weight_adjustment import adjust_weights, cosine_lr, statistics_loss, synthesise_batch
from tests.golden.adapters.given import given

MEAN = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)
STD = torch.tensor([0.2023, 0.1994, 0.2010], dtype=torch.float64)


class Net(torch.nn.Module):
    """The network of the vectors, with the sizes of its weights."""

    def __init__(self, state):
        super().__init__()
        held = {name: torch.tensor(values, dtype=torch.float64) for name, values in state.items()}
        wide, channels = held["conv1.weight"].shape[:2]
        wide2 = held["conv2.weight"].shape[0]
        self.conv1 = torch.nn.Conv2d(channels, wide, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(wide)
        self.conv2 = torch.nn.Conv2d(wide, wide2, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(wide2)
        self.fc = torch.nn.Linear(wide2, held["fc.weight"].shape[0], bias="fc.bias" in held)
        self.double().load_state_dict(held, strict=False)
        self.eval()

    def forward(self, x):
        x = torch.tanh(self.bn1(self.conv1(x)))
        return self.fc(torch.tanh(self.bn2(self.conv2(x))).mean(dim=(2, 3)))


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def _perturb(inputs, params):
    found = adjust_weights(
        Net(inputs["state"]), _tensor(inputs["x"]), torch.tensor(inputs["y"]), **given(params, "rho", steps="K")
    )
    return {
        "state": {name: values.detach() for name, values in found.model.named_parameters()},
        "ce": found.ce,
        "l2_displacement": found.displacement,
    }


def _statistics(inputs, params):
    loss = statistics_loss(
        _tensor(inputs["activations"]), _tensor(inputs["running_mean"]), _tensor(inputs["running_var"]), **params
    )
    return {"loss": float(loss)}


def _synthesise(inputs, params):
    batch = synthesise_batch(
        Net(inputs["state"]),
        _tensor(inputs["x0"]),
        torch.tensor(inputs["y"]),
        low=-MEAN / STD,
        high=(1 - MEAN) / STD,
        jitter=0,
        **given(
            params,
            *("rho", "lr", "r_bn", "r_var", "first_bn_multiplier"),
            steps="K",
            iterations="T",
            discard_input_gradient="discard_input_gradient_of_ascent_steps",
        ),
    )
    return {"x": batch.x, "ce_and_aux_per_iteration": batch.losses}


OPS = {
    "perturb_weights": _perturb,
    "bn_loss": _statistics,
    "cosine_lr": lambda i, p: {"lr": [cosine_lr(t, p["T"], p["base"]) for t in i["i"]]},
    "synthesise_batch": _synthesise,
}

"""TITLE: what the method does, in one sentence.

Authors, "Title of the paper", year (arXiv number).
Equation tags are those of the chapter `notebooks/PAPER`.
"""

from torch import Tensor


def trace(values: Tensor, decay: float) -> Tensor:
    """What a leaky memory holds after a sequence. (Stands here until the method of the paper does.)

    m = Σ_τ decay^(time−1−τ) x_τ, eq. (KEY.1) of `notebooks/PAPER`.

    Args:
        values: in the order of arrival, shape (time, features).
        decay: factor on what is held, a step, in [0, 1].
    Returns: shape (features,); zero where time is 0.
    Raises: ValueError: decay outside [0, 1], or values of another rank.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], got {decay}")
    if values.ndim != 2:
        raise ValueError(f"values must have shape (time, features), got {tuple(values.shape)}")
    age = values.new_tensor(range(len(values))).flip(0)
    return decay**age @ values

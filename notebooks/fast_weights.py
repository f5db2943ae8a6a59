# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fast Weights: attending to the recent past
#
# **A recurrent network can keep a second, fast weight matrix that learns and forgets within one sequence; reading that
# matrix is the same thing as attending to the network's own past.**
#
# Paper: Ba, Hinton, Mnih, Leibo, Ionescu, *Using Fast Weights to Attend to the Recent Past*, 2016
# ([arXiv 1610.06258](https://arxiv.org/abs/1610.06258)).
#
# You derive the attention form and the three versions of the rule that are in circulation, show which of them are the
# same, find out when the inner loop converges, train the model on the paper's retrieval task, and compare it with the
# paper's table. You need PyTorch and backpropagation. Reading takes about an hour; running every cell takes half a
# minute on a laptop.
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/fast_weights.ipynb) ·
# [source of the layer](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/fast_weights.py)
#
# The first cell installs the package where it is missing (on Colab, say) and never touches the PyTorch that is there.

# %%
import importlib.util
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

if importlib.util.find_spec("workedpapers") is None:  # install it; torch and numpy stay as they are
    pins = Path(tempfile.mkdtemp()) / "constraints.txt"
    pins.write_text("".join(f"{name}=={version(name)}\n" for name in ("torch", "numpy")))
    source = "git+https://github.com/OWNER/worked-papers@v0.1.0"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-c", str(pins), source], check=True)
    importlib.invalidate_caches()

import inspect

import matplotlib.pyplot as plt
import sympy
import torch
from IPython.display import Markdown

from workedpapers.experiments import fast_weights as experiment
from workedpapers.fast_weights import FastWeights, attend, fast_matrix
from workedpapers.lab import check, explore, figures, refute, setup, sweep
from workedpapers.tasks.retrieval import associative_retrieval, decode

device = setup(seed=0)

# %% [markdown]
# ## 1. The problem in numbers
#
# **A matrix that you write to by adding outer products answers "what came with c?" without any training.**
#
# Read the string `c9k8j3??c`: three letters, each followed by a digit, then a question. The answer is 9. A recurrent
# network must carry three pairs in its hidden vector until the question comes. Let us store them elsewhere.
#
# Take six units: three stand for the letters c, k, j and three for the digits 9, 8, 3. While `c9` is read, the hidden
# vector has a one at "c" and a one at "9". Add up the outer products of the three vectors:

# %%
unit = torch.eye(6, dtype=torch.float64)
c9, k8, j3 = unit[0] + unit[3], unit[1] + unit[4], unit[2] + unit[5]
A = torch.outer(c9, c9) + torch.outer(k8, k8) + torch.outer(j3, j3)
print(A.int())

# %% [markdown]
# Now ask. Multiply the matrix by the unit vector of "c":

# %%
print("letters c k j:", (A @ unit[0])[:3].tolist())
print("digits  9 8 3:", (A @ unit[0])[3:].tolist())

# %% [markdown]
# The answer lights up: unit "9". Nothing was trained, and the six units hold six numbers while the symmetric matrix
# holds 21. The matrix is rewritten for every string, which is why its weights are called *fast*; the ordinary weights
# of the network, learned over many strings, are *slow*.
#
# Two questions follow. Old pairs should fade, or the matrix fills up: how does fading enter? And a batch of 128 strings
# needs 128 matrices: must we build them at all?

# %% [markdown]
# ## 2. The rule and what it adds up to
#
# **Writing with decay builds a weighted sum over the past, the newest vector loudest.**
#
# Let $h(t)\in\mathbb R^H$ be the hidden vector after step $t$. At each step the fast matrix $A$ shrinks by the factor
# $\lambda$ (*decay*) and gains an outer product with weight $\eta$ (*rate*). It starts as $A(0)=0$:
#
# $$ A(t) = \lambda\,A(t-1) + \eta\,h(t)\,h(t)^\top \tag{FW.1} $$
#
# Element by element this reads $A_{ij}(t)=\lambda A_{ij}(t-1)+\eta\,h_i(t)h_j(t)$: a connection grows when its two ends
# are active together (Hebb's rule) and fades otherwise. The cell runs the rule on seven random vectors twice, as
# matrices and one element at a time.

# %%
H, T = 5, 7
lam, eta = 0.9, 0.5
h = torch.rand(T, H, dtype=torch.float64)  # h[t] is the vector of step t + 1

A = torch.zeros(H, H, dtype=torch.float64)
for t in range(T):
    A = lam * A + eta * torch.outer(h[t], h[t])

by_element = [[0.0] * H for _ in range(H)]
for t in range(T):
    for i in range(H):
        for j in range(H):
            by_element[i][j] = lam * by_element[i][j] + eta * h[t, i].item() * h[t, j].item()
check("FW.1", A, torch.tensor(by_element, dtype=torch.float64), "the rule as matrices = the rule element by element")

# %% [markdown]
# What is in $A(t)$ after many steps? Unroll: $A(1)=\eta\,h(1)h(1)^\top$, then
# $A(2)=\lambda\eta\,h(1)h(1)^\top+\eta\,h(2)h(2)^\top$. The claim for every $t\ge 0$:
#
# $$ A(t) = \eta\sum_{\tau=1}^{t}\lambda^{t-\tau}\,h(\tau)\,h(\tau)^\top \tag{FW.2} $$
#
# *Proof by induction.* At $t=0$ the sum is empty and $A(0)=0$. Suppose (FW.2) holds at $t-1$. Then by (FW.1)
# $A(t)=\lambda\,\eta\sum_{\tau=1}^{t-1}\lambda^{t-1-\tau}h(\tau)h(\tau)^\top+\eta\,h(t)h(t)^\top$. The factor $\lambda$
# turns each $\lambda^{t-1-\tau}$ into $\lambda^{t-\tau}$, and the last term is the missing $\tau=t$ with
# $\lambda^0=1$. $\blacksquare$
#
# The check repeats the induction with symbols for $t=4$: one entry of the matrix, four steps of the rule against the
# sum.

# %%
lam_, eta_ = sympy.symbols("lambda eta")
left, right = sympy.symbols("a1:5"), sympy.symbols("b1:5")  # h_i(τ) and h_j(τ)
entry = sympy.Integer(0)
for a, b in zip(left, right, strict=True):
    entry = lam_ * entry + eta_ * a * b
total = sum(eta_ * lam_ ** (4 - tau) * left[tau - 1] * right[tau - 1] for tau in range(1, 5))
check("FW.2", entry, total, "four steps of the rule = the weighted sum")
check("FW.2", A, fast_matrix(h, lam, eta), "and the library's fast_matrix is that sum")

# %% [markdown]
# ## 3. No matrix at all
#
# **Reading the fast matrix is attention over past hidden vectors, with scores that fade with age.**
#
# The network never looks at $A$ itself. It only ever needs the product of $A$ with some vector $q$ (the *query*).
# Multiply (FW.2) by $q$ and move one pair of brackets, from $(h h^\top)q$ to $h\,(h^\top q)$:
#
# $$ A(t)\,q = \sum_{\tau=1}^{t}\;\eta\lambda^{t-\tau}\,\bigl(h(\tau)^\top q\bigr)\;h(\tau) \tag{FW.3} $$
#
# The number in front of $h(\tau)$ is an attention score: how well the past vector matches the query, times how recent
# it is. There is no softmax; scores can be any size. The left side costs $H^2$ multiplications and needs a matrix for
# every sequence of the batch. The right side costs $2tH$ and needs the past vectors, which backpropagation keeps anyway.

# %%
q = torch.rand(H, dtype=torch.float64)
A = torch.zeros(H, H, dtype=torch.float64)
for t in range(T):
    A = lam * A + eta * torch.outer(h[t], h[t])
age = torch.arange(T - 1, -1, -1, dtype=torch.float64)
scores = eta * lam**age * (h @ q)
check("FW.3", A @ q, scores @ h, "reading the fast matrix = attending to the past")
check("FW.3", A @ q, attend(h[None], q[None], lam, eta)[0], "and the library's attend does the latter")

# %% [markdown]
# ## 4. The network around the matrix
#
# **Each step computes a first guess, lets the memory correct it, and only then moves on.**
#
# How does the query come about? The network makes a *preliminary* vector $h_0$ from the last output and the new input,
# and reads $A$ with it, $S$ times (the inner steps), while the ordinary input to the units, $z$, stays on as it was
# (the paper's *sustained boundary condition*). With slow weights $W$, $C$, a bias $b$, $f=\mathrm{ReLU}$, and layer
# normalisation $\mathrm{LN}$:
#
# $$ z = W\,h(t) + C\,x(t+1) + b, \qquad h_0 = f(z) \tag{FW.4} $$
#
# $$ h_{s+1} = f\bigl(\mathrm{LN}[\,z + A(t)\,h_s\,]\bigr), \qquad h(t+1) = h_S \tag{FW.5} $$
#
# $$ \mathrm{LN}[a]_i = g_i\,\frac{a_i-\mu}{\sqrt{\sigma^2+\varepsilon}} + c_i, \quad \mu=\tfrac1H\sum_j a_j, \quad \sigma^2=\tfrac1H\sum_j(a_j-\mu)^2 \tag{FW.6} $$
#
# Mean and variance in (FW.6) run over the $H$ units of one example, never over the batch; gain $g$ and shift $c$ are
# learned. (The paper writes $x(t)$ for the input that produces $h(t+1)$: an index slip without consequence. It does not
# say whether $h_0$ is normalised too; section 6 measures what that does.) The cells build one step by hand in the
# paper's symbols, with $S=2$.

# %%
batch, features, S = 3, 4, 2
torch.manual_seed(0)
layer = FastWeights(features, H, decay=lam, rate=eta, inner_steps=S).double()
W, C, b = layer.weight_hh.detach(), layer.weight_ih.detach(), layer.bias.detach()
g, c = layer.norm.weight.detach(), layer.norm.bias.detach()
x = torch.randn(batch, T, features, dtype=torch.float64)


def LN(a):
    mu = a.mean(-1, keepdim=True)
    var = ((a - mu) ** 2).mean(-1, keepdim=True)
    return g * (a - mu) / torch.sqrt(var + 1e-5) + c


some = torch.randn(batch, H, dtype=torch.float64)
check("FW.6", LN(some), torch.layer_norm(some, (H,), g, c), "layer norm over the units = torch's")

# %%
outputs = torch.zeros(batch, T, H, dtype=torch.float64)
for n in range(batch):
    A = torch.zeros(H, H, dtype=torch.float64)
    h_t = torch.zeros(H, dtype=torch.float64)
    for t in range(T):
        z = W @ h_t + C @ x[n, t] + b
        h_s = z.clamp(min=0)
        for _ in range(S):
            h_s = LN(z + A @ h_s).clamp(min=0)
        h_t = h_s
        A = lam * A + eta * torch.outer(h_t, h_t)
        outputs[n, t] = h_t

check("FW.5", outputs, layer(x)[0].detach(), "the equations, example by example = the layer")

# %% [markdown]
# Without inner steps the memory is never read, and (FW.4) alone is the plain ReLU network that PyTorch has built in:

# %%
plain = FastWeights(features, H, inner_steps=0).double()
builtin = torch.nn.RNN(features, H, nonlinearity="relu", batch_first=True).double()
weights = {"weight_hh_l0": plain.weight_hh, "weight_ih_l0": plain.weight_ih, "bias_ih_l0": plain.bias}
builtin.load_state_dict(weights | {"bias_hh_l0": torch.zeros(H)})
check("FW.4", plain(x)[0].detach(), builtin(x)[0].detach(), "zero inner steps = torch's ReLU network")

# %% [markdown]
# ## 5. Three rules under one name
#
# **Two of the three update rules in circulation read the same matrices one step apart; the third writes something
# else.**
#
# A public review of the paper suspected a misprint in its equation 3, our (FW.2): should the sum end at $t$ or at
# $t-1$? The doubt is justified, because three different rules are in use.
#
# *After* (version 2 of the paper): when step $t+1$ is computed, $A$ holds all outputs up to $h(t)$. That is (FW.1) and
# (FW.2), and they agree with each other: nothing is wrong.
#
# *Delayed* (the review, and at least one public implementation): the step's output is written only *after the next
# step has read*, $A_d(t+1)=\lambda A_d(t)+\eta\,h(t)h(t)^\top$ with $A_d(1)=0$. Unrolled as before,
#
# $$ A_d(t) = \eta\sum_{\tau=1}^{t-1}\lambda^{t-1-\tau}\,h(\tau)\,h(\tau)^\top \tag{FW.7} $$
#
# Both the upper limit and the exponent lose one: the reviewer's formula is right for the reviewer's rule. Compare
# (FW.7) at $t+1$ with (FW.2) at $t$: for one given sequence of vectors they are the same sum,
#
# $$ A_d(t+1) = A(t) \tag{FW.8} $$
#
# so the two rules build the same matrices and differ in *when* they are read: *after* sees what happened one step ago,
# *delayed* only what happened two steps ago or earlier. (Two trained networks still differ, for their hidden vectors
# do.)


# %%
def delayed_matrices(h, lam, eta):
    """A_d(1), A_d(2), …: read first, then write."""
    A, matrices = torch.zeros(H, H, dtype=h.dtype), []
    for h_t in h:
        matrices.append(A)
        A = lam * A + eta * torch.outer(h_t, h_t)
    return [*matrices, A]


A_d = delayed_matrices(h, lam, eta)
t = 5
check(
    "FW.7",
    A_d[t - 1],  # A_d(t)
    sum(eta * lam ** (t - 1 - tau) * torch.outer(h[tau - 1], h[tau - 1]) for tau in range(1, t)),
    "the delayed rule = a sum that ends at t - 1",
)
check(
    "FW.8", torch.stack(A_d[1:]), torch.stack([fast_matrix(h[:t], lam, eta) for t in range(1, T + 1)]), "a shift by one"
)

# %% [markdown]
# *Preliminary* (most of the popular ports): the vector that is written is $h_0$ of the *same* step, before the inner
# loop, and that very matrix is read in it:
#
# $$ A_p(t+1) = \lambda\,A_p(t) + \eta\,h_0(t+1)\,h_0(t+1)^\top, \qquad h_{s+1} = f\bigl(\mathrm{LN}[\,z + A_p(t+1)\,h_s\,]\bigr) \tag{FW.9} $$
#
# No equation of the paper says this. It is not a shift of anything: the written vectors are others, and a step can
# attend to itself. All three are one argument of the layer, `write`.

# %%
preliminary = FastWeights(features, H, decay=lam, rate=eta, write="preliminary").double()
preliminary.load_state_dict(layer.state_dict())
expected = torch.zeros(T, H, dtype=torch.float64)
A, h_t = torch.zeros(H, H, dtype=torch.float64), torch.zeros(H, dtype=torch.float64)
for t in range(T):
    z = W @ h_t + C @ x[0, t] + b
    h_0 = z.clamp(min=0)
    A = lam * A + eta * torch.outer(h_0, h_0)
    h_t = LN(z + A @ h_0).clamp(min=0)
    expected[t] = h_t
check("FW.9", expected, preliminary(x)[0][0].detach(), "writing h_0 before the read = write='preliminary'")

# %% [markdown]
# ## 6. From equation to implementation
#
# **The layer is the derivation with the names of torch; both ways to hold the memory give the same numbers.**
#
# This is the whole forward pass of `workedpapers.fast_weights.FastWeights`. One product handles the inputs of all steps
# before the loop starts; the rest follows (FW.4), (FW.5) and the choice of what is written.

# %%
print(inspect.getsource(FastWeights.forward))

# %% [markdown]
# `memory` is one of two small classes. The *attention* form keeps the written vectors and reads by (FW.3); the *matrix*
# form keeps $A$ and multiplies. They must agree for every rule, and so must their gradients:

# %%
print(inspect.getsource(inspect.getmodule(FastWeights)._attend))

# %%
for write in ("after", "delayed", "preliminary"):
    results = []
    for form in ("attention", "matrix"):
        twin = FastWeights(features, H, decay=lam, rate=eta, inner_steps=S, write=write, form=form).double()
        twin.load_state_dict(layer.state_dict())
        output, _ = twin(x)
        output.square().sum().backward()
        results.append((output.detach(), twin.weight_hh.grad))
    (by_attention, its_gradient), (by_matrix, other_gradient) = results
    check("FW.3", by_attention, by_matrix, f"whole layer, write={write!r}: attention form = matrix form")
    check("FW.3", its_gradient, other_gradient, f"whole layer, write={write!r}: and their gradients")

# %% [markdown]
# The state that a call returns makes streaming exact. A sequence in two pieces equals the sequence in one:

# %%
beginning, state = layer(x[:, :4])
rest, _ = layer(x[:, 4:], state)
check("FW.5", torch.cat((beginning, rest), 1).detach(), layer(x)[0].detach(), "two pieces with the state = one piece")

# %% [markdown]
# ## 7. Explore: what the memory attends to
#
# **Decay decides how old a match may be; the rate only decides how loud the whole memory is.**
#
# Here is the string of section 1 with less tidy vectors: each letter and each digit has a random vector of 24 units,
# and reading `c9` leaves the ReLU of their sum. The three vectors are not orthogonal any more, so a query for one
# letter wakes the others a little. The left panel shows the attention score of (FW.3) on each stored pair; the right
# panel how well what comes back matches each of the three digits.
#
# Move the query to the oldest pair and lower the decay. When does the wrong digit win? Then change the rate, and notice
# what it does not change.

# %%
generator = torch.Generator().manual_seed(3)
symbols = dict(zip("ckj983", torch.randn(6, 24, generator=generator, dtype=torch.float64), strict=True))
pairs = ("c9", "k8", "j3")
past = torch.stack([(symbols[letter] + symbols[digit]).relu() for letter, digit in pairs])
past = past / past.norm(dim=1, keepdim=True)


def recall(query, decay, rate):
    """Scores on the stored pairs, and the match of what comes back with each digit."""
    key = symbols[query].relu() / symbols[query].relu().norm()
    scores = rate * decay ** torch.arange(2, -1, -1) * (past @ key)
    answer = attend(past[None], key[None], decay, rate)[0]
    return scores, torch.stack([answer @ symbols[digit] for _, digit in pairs])


def draw(query, decay, rate):
    scores, matches = recall(query, decay, rate)
    fig, (left, right) = figures.panels(2)
    left.bar(pairs, scores, color=figures.COLORS["fast"])
    left.set(ylim=(0, 1), ylabel="attention score", xlabel="stored pair, oldest first")
    asked = [pair[0] for pair in pairs].index(query)
    colors = [figures.COLORS["muted"]] * 3
    colors[int(matches.argmax())] = figures.COLORS["wrong"]
    colors[asked] = figures.COLORS["data"]
    right.bar([pair[1] for pair in pairs], matches, color=colors)
    right.set(ylim=(-4, 7), ylabel="match with the answer", xlabel="digit (the right one is light blue)")
    right.axhline(0, color=figures.COLORS["muted"], linewidth=0.8)
    found = int(matches.argmax()) == asked
    fig.suptitle(
        f"Asked for {query}, the memory says {pairs[int(matches.argmax())][1]}: {'right' if found else 'wrong'}"
    )
    return fig


def describe(query, decay, rate):
    scores, matches = recall(query, decay, rate)
    listed = ", ".join(f"{pair} {score:.2f}" for pair, score in zip(pairs, scores.tolist(), strict=True))
    return (
        f"Bars for query {query}, decay {decay}, rate {rate}: attention scores {listed}; "
        f"the best match is digit {pairs[int(matches.argmax())][1]}."
    )


explore(draw, alt=describe, query=("c", "k", "j"), decay=(1.0, 0.9, 0.7, 0.4), rate=(0.5, 1.0))

# %% [markdown]
# ## 8. Run it: associative retrieval
#
# **Four pairs, one question. A network that does not bind digits to letters errs on 61.65% of the strings, and most
# failing models in the paper sit there.**
#
# The task is the paper's: strings of four letter-digit pairs (letters all different), two question marks, and one of
# the letters; 100,000 strings for training, 10,000 for validation, 20,000 for test.

# %%
strings = associative_retrieval(pairs=4, split="train", size=4)
for text, target in zip(decode(strings.tokens), strings.targets.tolist(), strict=True):
    print(f"{text} -> {target}")

# %% [markdown]
# Train one now: two pairs, 50 hidden units, a few seconds. Change `decay` or `inner_steps` in the cell and run it
# again. (The curve you get may differ from the stored one in late digits, since processors round differently.)

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Validation error of one live run against updates. It stays near 45 percent, the level of a model that binds nothing, and then falls below 10 percent within a few hundred updates."}}
config = experiment.Retrieval(pairs=2, hidden_size=50, updates=800, evaluate_every=50, decay=0.9, inner_steps=1)
run = experiment.train(config, seed=0, device=device)

fig, ax = plt.subplots()
ax.plot(run["curve_updates"], run["validation_error"], color=figures.COLORS["fast"], label="fast weights, live")
ax.axhline(45, color=figures.COLORS["muted"], linestyle=":", label="no binding")
ax.set(xlabel="updates", ylabel="validation error (%)", ylim=(0, 100), title="First a plateau, then a fall")
ax.legend()
plt.show()

# %% [markdown]
# The plateau is no accident...

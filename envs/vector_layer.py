"""Layers of a small network on vectors of sixteen numbers, in one fixed order of operations.

A compiled loop over the outputs of a layer loads and stores every sum once an input; here sixteen
to forty-eight sums stay in registers while the inputs pass. Multiplications and additions are
separate, in the order of the inputs, so that a result is the same bit for bit on every machine and
equal to the loop in NumPy. Vectors of sixteen are divided by the compiler where a machine's are
shorter.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 16
"""Outputs of a layer are padded to a multiple of this."""

_INDEX = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_NOTHING = ir.Constant(_VECTOR, ir.Undefined)


def _address(context, builder, array_type, array, offset):
    """Return the address of an element of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _vector_at(builder, address, k):
    """Load the k-th vector behind an address of floats, which need not be aligned."""
    place = builder.gep(address, [ir.Constant(_INDEX, LANES * k)])
    vector = builder.load(builder.bitcast(place, _VECTOR.as_pointer()))
    vector.align = 4
    return vector


def _shuffle(builder, vector, lanes):
    """Return a vector of the named lanes of another."""
    chosen = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
    return builder.shuffle_vector(vector, _NOTHING, chosen)


def _outputs_of(n_vectors: int, n_rows: int) -> Any:
    """Make the code that computes `n_vectors` vectors of rectified outputs of `n_rows` inputs."""

    @intrinsic
    def outputs(
        typing_context, numbers, start, apart, n, weights, first, stride, biases, first_bias, to
    ):
        whole = types.intp
        signature = types.void(
            numbers, whole, whole, whole, weights, whole, whole, biases, whole, whole
        )

        def build(context, builder, signature, values):
            numbers, start, apart, n, weights, first, stride, biases, first_bias, to = values
            kinds = signature.args
            zero = ir.Constant(_INDEX, 0)
            shifts = [builder.mul(apart, ir.Constant(_INDEX, r)) for r in range(n_rows)]
            inputs = [
                _address(context, builder, kinds[0], numbers, builder.add(start, shift))
                for shift in shifts
            ]
            targets = [
                _address(context, builder, kinds[0], numbers, builder.add(to, shift))
                for shift in shifts
            ]
            weights_0 = _address(context, builder, kinds[4], weights, first)
            bias = _address(context, builder, kinds[7], biases, first_bias)
            before = builder.block
            starts = [_vector_at(builder, bias, k) for k in range(n_vectors)] * n_rows
            loop = builder.append_basic_block("inputs")
            after = builder.append_basic_block("outputs")
            builder.branch(loop)

            builder.position_at_end(loop)
            i = builder.phi(_INDEX)
            place = builder.phi(weights_0.type)
            sums = [builder.phi(_VECTOR) for _ in starts]
            factors = [_vector_at(builder, place, k) for k in range(n_vectors)]
            totals = []
            for r, x in enumerate(inputs):
                number = builder.load(builder.gep(x, [i]))
                lane = builder.insert_element(_NOTHING, number, ir.Constant(ir.IntType(32), 0))
                everywhere = _shuffle(builder, lane, [0] * LANES)
                totals += [
                    builder.fadd(sums[r * n_vectors + k], builder.fmul(everywhere, factor))
                    for k, factor in enumerate(factors)
                ]
            next_i = builder.add(i, ir.Constant(_INDEX, 1))
            next_place = builder.gep(place, [stride])
            for phi, value, step in (
                (i, zero, next_i),
                (place, weights_0, next_place),
                *zip(sums, starts, totals, strict=True),
            ):
                phi.add_incoming(value, before)
                phi.add_incoming(step, loop)
            builder.cbranch(builder.icmp_signed("<", next_i, n), loop, after)

            builder.position_at_end(after)
            nought = ir.Constant(_VECTOR, [0.0] * LANES)
            for j, total in enumerate(totals):
                positive = builder.fcmp_ordered(">", total, nought)
                target = builder.gep(
                    targets[j // n_vectors], [ir.Constant(_INDEX, LANES * (j % n_vectors))]
                )
                stored = builder.store(
                    builder.select(positive, total, nought),
                    builder.bitcast(target, _VECTOR.as_pointer()),
                )
                stored.align = 4
            return context.get_dummy_value()

        return signature, build

    return outputs


ROWS = 4
"""Inputs that `rectified_layer_of_rows` takes at once."""

_one_vector, _one_vector_of_rows = _outputs_of(1, 1), _outputs_of(1, ROWS)
_two_vectors, _two_vectors_of_rows = _outputs_of(2, 1), _outputs_of(2, ROWS)
_three_vectors, _three_vectors_of_rows = _outputs_of(3, 1), _outputs_of(3, ROWS)


@njit(cache=True, inline="always")
def rectified_layer(numbers, start, n, weights, first, biases, first_bias, n_out, to):
    """Write max(0, b + Σ_i x_i w_i), summed in the order of i.

    Args:
        numbers: float32, holds the inputs at `start` and takes the outputs at `to`.
        start: where the inputs begin.
        n: number of inputs, at least 1.
        weights: flat float32; row i begins at `first` + i · `n_out`.
        first: where the weights of this layer begin.
        biases: flat float32.
        first_bias: where the biases of this layer begin.
        n_out: number of outputs, a multiple of `LANES`.
        to: where the outputs begin; they must not overlap the inputs.
    """
    j = 0
    while j + 3 * LANES <= n_out:
        at, bias = first + j, first_bias + j
        _three_vectors(numbers, start, 0, n, weights, at, n_out, biases, bias, to + j)
        j += 3 * LANES
    if j + 2 * LANES <= n_out:
        at, bias = first + j, first_bias + j
        _two_vectors(numbers, start, 0, n, weights, at, n_out, biases, bias, to + j)
        j += 2 * LANES
    if j < n_out:
        at, bias = first + j, first_bias + j
        _one_vector(numbers, start, 0, n, weights, at, n_out, biases, bias, to + j)


@njit(cache=True, inline="always")
def rectified_layer_of_rows(
    numbers, start, apart, n, weights, first, biases, first_bias, n_out, to
):
    """Do what `rectified_layer` does to `ROWS` inputs at once, the same bit for bit.

    Inputs and outputs of each row lie `apart` numbers after those of the row before.
    """
    j = 0
    while j + 3 * LANES <= n_out:
        at, bias = first + j, first_bias + j
        _three_vectors_of_rows(numbers, start, apart, n, weights, at, n_out, biases, bias, to + j)
        j += 3 * LANES
    if j + 2 * LANES <= n_out:
        at, bias = first + j, first_bias + j
        _two_vectors_of_rows(numbers, start, apart, n, weights, at, n_out, biases, bias, to + j)
        j += 2 * LANES
    if j < n_out:
        at, bias = first + j, first_bias + j
        _one_vector_of_rows(numbers, start, apart, n, weights, at, n_out, biases, bias, to + j)


@intrinsic
def _inner_product(typing_context, first, start, second, second_start, n):
    """Return Σ_k a_{i+k} b_{j+k} of n float32, a multiple of `LANES`: lane by lane, then in halves.

    Args are a, i, b, j, n.
    """
    signature = types.float32(first, types.intp, second, types.intp, types.intp)

    def build(context, builder, signature, values):
        first, start, second, second_start, n = values
        zero = ir.Constant(_INDEX, 0)
        a = _address(context, builder, signature.args[0], first, start)
        b = _address(context, builder, signature.args[2], second, second_start)
        before = builder.block
        loop = builder.append_basic_block("terms")
        after = builder.append_basic_block("total")
        builder.branch(loop)

        builder.position_at_end(loop)
        i = builder.phi(_INDEX)
        total = builder.phi(_VECTOR)
        product = builder.fmul(
            _vector_at(builder, builder.gep(a, [i]), 0), _vector_at(builder, builder.gep(b, [i]), 0)
        )
        raised = builder.fadd(total, product)
        next_i = builder.add(i, ir.Constant(_INDEX, LANES))
        i.add_incoming(zero, before)
        i.add_incoming(next_i, loop)
        total.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
        total.add_incoming(raised, loop)
        builder.cbranch(builder.icmp_signed("<", next_i, n), loop, after)

        builder.position_at_end(after)
        half = LANES // 2
        while half:
            other = _shuffle(builder, raised, [(k + half) % LANES for k in range(LANES)])
            raised = builder.fadd(raised, other)
            half //= 2
        return builder.extract_element(raised, ir.Constant(ir.IntType(32), 0))

    return signature, build


inner_product: Any = _inner_product

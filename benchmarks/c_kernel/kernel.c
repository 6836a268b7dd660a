/* A network in float32 for one thread and one shape, as a lower bound of the latency on this machine.
 *
 * c_kernel.py compiles it for one network, described by -D:
 *   WINDOW CHANNELS FRAME HOP   the window and its steps
 *   UNITS RELU                  the input layer; UNITS 0: folded into the first LSTM layer
 *   LAYERS HIDDEN WIDEST        HIDDEN is a list such as {48,48}; WIDEST the widest layer, input layer included
 *   LABELS
 * The weights are in the order in which they are read (c_kernel.py, `packed`), with gates scaled by -log2 e (the
 * candidate's by -2 log2 e), so that every exponential is 2^x.
 *
 * The inputs of all steps are projected at once, in tiles that stay in registers. A step is then one pass over the
 * recurrent weights, which fit the first-level cache. An LSTM cell needs two divisions instead of five.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define VECS(n) (((n) + LANES - 1) / LANES)

#define STEPS ((WINDOW - FRAME) / HOP + 1)
#define MAX_BLOCKS VECS(WIDEST)
#ifndef TILE_COLUMNS
#define TILE_COLUMNS (LANES == 16 ? 3 : 2) /* vectors of outputs a register tile of `project` holds */
#endif
#ifndef TILE_ROWS
#define TILE_ROWS (LANES == 16 ? 7 : 5) /* steps it holds */
#endif
#define CELL_BLOCKS (LANES == 16 ? 4 : 3) /* blocks of LANES units whose four gates stay in registers */

static const int hidden[LAYERS] = HIDDEN;
static const vec *weights;
static vec gates[STEPS * 4 * MAX_BLOCKS] __attribute__((aligned(64)));
static vec rows[2][STEPS * MAX_BLOCKS] __attribute__((aligned(64)));
static vec cells[MAX_BLOCKS];

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec smaller(vec a, float b) {
    ivec less = a < splat(b);
    return (vec)((less & (ivec)a) | (~less & (ivec)splat(b)));
}

/* 2^x for x <= 40 (larger x are clipped at 40, so that products of three such numbers are finite), relative error 1e-7. */
INLINE vec power(vec x) {
#if defined(__AVX512F__)
    x = (vec)_mm512_min_ps((__m512)x, _mm512_set1_ps(40.0f));
    vec whole = (vec)_mm512_roundscale_ps((__m512)x, 0);
#else
    x = smaller(x, 40.0f);
    x = -smaller(-x, 100.0f);
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer, in the lowest bits */
    vec shifted = x + magic, whole = shifted - magic;
#endif
    vec f = x - whole, square = f * f;
    vec low = 1.0000000716546558f + f * 0.6931469670638628f;
    vec middle = 0.2402211972393421f + f * 0.055507132749641135f;
    vec high = 0.009675541330664228f + f * 0.0013276471518494475f;
    vec p = low + square * (middle + square * high);
#if defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    return (vec)((ivec)p + ((ivec)shifted << 23));
#endif
}

/* out[r] = (or, `relu`, its positive part) bias + w x[r] for `count` rows and `columns` vectors of outputs. */
INLINE void tile(int count, int columns, const float *x, int stride, int inputs, const vec *w, const vec *bias,
                 vec *out, int width, int relu) {
    vec sum[TILE_ROWS][TILE_COLUMNS];
#pragma GCC unroll 16
    for (int r = 0; r < count; r++)
#pragma GCC unroll 16
        for (int c = 0; c < columns; c++) sum[r][c] = bias[c];
    for (int k = 0; k < inputs; k++, w += columns)
#pragma GCC unroll 16
        for (int r = 0; r < count; r++)
#pragma GCC unroll 16
            for (int c = 0; c < columns; c++) sum[r][c] += w[c] * x[r * stride + k];
#pragma GCC unroll 16
    for (int r = 0; r < count; r++)
#pragma GCC unroll 16
        for (int c = 0; c < columns; c++) {
            vec s = sum[r][c];
            out[r * width + c] = relu ? (vec)((ivec)s & (s > 0)) : s;
        }
}

/* All steps through one matrix: x [STEPS][inputs], rows `stride` floats apart -> out [STEPS][width] vectors. */
INLINE const vec *project(const float *x, int stride, int inputs, int width, const vec *w, vec *out, int relu) {
    const vec *bias = w;
    w += width;
    for (int c = 0; c < width; c += TILE_COLUMNS) {
        const int wide = c + TILE_COLUMNS <= width;
        const int over = MIN(TILE_ROWS, STEPS), rest = STEPS % over;
        int r = 0;
        for (; r + over <= STEPS; r += over)
            if (wide) tile(over, TILE_COLUMNS, x + r * stride, stride, inputs, w, bias + c, out + r * width + c, width, relu);
            else tile(over, width % TILE_COLUMNS, x + r * stride, stride, inputs, w, bias + c, out + r * width + c, width, relu);
        if (rest) {
            if (wide) tile(rest, TILE_COLUMNS, x + r * stride, stride, inputs, w, bias + c, out + r * width + c, width, relu);
            else tile(rest, width % TILE_COLUMNS, x + r * stride, stride, inputs, w, bias + c, out + r * width + c, width, relu);
        }
        w += inputs * (wide ? TILE_COLUMNS : width % TILE_COLUMNS);
    }
    return w;
}

/* One step of `blocks` blocks of units: projected gates + recurrent weights * state -> new cells, new state. */
INLINE void cell(int blocks, const vec *projected, const vec *w, const float *state, int units, vec *c, vec *h, int first) {
    vec sum[4 * CELL_BLOCKS];
#pragma GCC unroll 16
    for (int j = 0; j < 4 * blocks; j++) sum[j] = projected[j];
    if (!first)
#pragma GCC unroll 4
        for (int k = 0; k < units; k++)
#pragma GCC unroll 16
            for (int j = 0; j < 4 * blocks; j++) sum[j] += w[k * 4 * blocks + j] * state[k];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) {
        /* sigmoid x = 1 / (1 + e^-x), tanh x = (1 - e^-2x) / (1 + e^-2x); the quotients share a denominator */
        vec i = 1.0f + power(sum[b]), f = 1.0f + power(sum[blocks + b]);
        vec g = power(sum[2 * blocks + b]), o = 1.0f + power(sum[3 * blocks + b]);
        vec ig = i * (1.0f + g);
        vec new = first ? (1.0f - g) / ig : (c[b] * ig + (1.0f - g) * f) / (ig * f);
        c[b] = new;
        vec e = power(new * -2.885390081777927f);
        h[b] = (1.0f - e) / (o * (1.0f + e));
    }
}

/* gates [STEPS][4 * blocks] -> out [STEPS][blocks], the states. */
INLINE const vec *recur(int units, const vec *w, vec *out) {
    const int blocks = VECS(units), tail = blocks % CELL_BLOCKS;
    for (int t = 0; t < STEPS; t++) {
        const float *state = (const float *)(out + (t - (t > 0)) * blocks);
        const vec *projected = gates + t * 4 * blocks, *matrix = w;
        for (int b = 0; b + CELL_BLOCKS <= blocks; b += CELL_BLOCKS) {
            if (t) cell(CELL_BLOCKS, projected + 4 * b, matrix, state, units, cells + b, out + t * blocks + b, 0);
            else cell(CELL_BLOCKS, projected + 4 * b, matrix, state, units, cells + b, out + b, 1);
            matrix += 4 * CELL_BLOCKS * units;
        }
        const int b = blocks - tail;
        if (tail && t) cell(tail, projected + 4 * b, matrix, state, units, cells + b, out + t * blocks + b, 0);
        else if (tail) cell(tail, projected + 4 * b, matrix, state, units, cells + b, out + b, 1);
    }
    return w + 4 * blocks * units;
}

/* window [WINDOW][CHANNELS] in physical units -> logits and probabilities, [2][LABELS]. */
void run_window(const float *window, float *output) {
    const vec *w = weights;
    const float *x = window;
    int stride = HOP * CHANNELS, inputs = FRAME * CHANNELS;
    if (UNITS) {
        w = project(x, stride, inputs, VECS(UNITS), w, rows[1], RELU);
        x = (const float *)rows[1], stride = VECS(UNITS) * LANES, inputs = UNITS;
    }
#pragma GCC unroll 8
    for (int l = 0; l < LAYERS; l++) {
        const int blocks = VECS(hidden[l]);
        w = project(x, stride, inputs, 4 * blocks, w, gates, 0);
        w = recur(hidden[l], w, rows[l % 2]);
        x = (const float *)rows[l % 2], stride = blocks * LANES, inputs = hidden[l];
    }
    x += (STEPS - 1) * stride;
    for (int b = 0; b < VECS(LABELS); b++) {
        vec part[4] = {w[0], {0}, {0}, {0}}; /* four independent sums, to hide the latency of the additions */
        w++;
        int k = 0;
        for (; k + 4 <= inputs; k += 4, w += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) part[j] += w[j] * x[k + j];
        for (; k < inputs; k++) part[0] += *w++ * x[k];
        part[0] += part[1] + (part[2] + part[3]);
        memcpy(output + b * LANES, part, 4 * MIN(LANES, LABELS - b * LANES));
    }
    float largest = output[0], sum = 0;
    for (int k = 1; k < LABELS; k++) largest = output[k] > largest ? output[k] : largest;
    for (int b = 0; b < LABELS; b += LANES) {
        vec logits = {0};
        memcpy(&logits, output + b, 4 * MIN(LANES, LABELS - b));
        logits = power((logits - largest) * 1.4426950408889634f);
        memcpy(output + LABELS + b, &logits, 4 * MIN(LANES, LABELS - b));
    }
    for (int k = 0; k < LABELS; k++) sum += output[LABELS + k];
    for (int k = 0; k < LABELS; k++) output[LABELS + k] /= sum;
}

/* The layout of the packed weights depends on these. */
int kernel_layout(int which) {
    const int layout[] = {LANES, TILE_COLUMNS, CELL_BLOCKS};
    return layout[which];
}

/* The packed weights, aligned to 64 bytes and owned by the caller. */
void kernel_load(const void *packed) { weights = packed; }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Runs `count` windows: outputs [count][2][LABELS], and the nanoseconds of each window including the clock. */
void run_windows(const float *windows, float *outputs, int64_t *nanoseconds, int count) {
    for (int n = 0; n < count; n++) {
        int64_t began = now();
        run_window(windows + n * WINDOW * CHANNELS, outputs + n * 2 * LABELS);
        nanoseconds[n] = now() - began;
    }
}

// Batch normalisation over the rows of a matrix and the rectifier after it, forward and backward.
//
// A row is a pixel and a column a channel: what PyTorch calls channels-last. Either way takes two
// passes, one for the sums over rows and one for the values. Sums are taken by block of rows and
// added up in the blocks' order, so that results do not depend on the number of threads, which are
// PyTorch's own: both use the one OpenMP library that is loaded.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr long kBlocks = 64;

struct bfloat16 {
    uint16_t bits;
};

inline float load(float value) { return value; }

inline float load(bfloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline void store(float value, float& to) { to = value; }

inline void store(float value, bfloat16& to) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    to.bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

// A slope of 0 gives 0, whatever the other factor: infinity times 0 would be none. NaN stays NaN.

inline float times_slope(float value, float slope) { return slope == 0 ? 0.0f : value * slope; }

inline float rectified(float h, float slope) { return h < 0 ? times_slope(h, slope) : h; }

inline float passed(float h, float gradient, float slope) {
    return h > 0 ? gradient : times_slope(gradient, slope);
}

// The four passes, each over `rows` rows of `n` channels.

// Differences from an origin near the mean keep the digits where the mean is large.
template <typename T>
void add_moments(const T* __restrict x, long rows, int n, const float* __restrict origin,
                 float* __restrict sum, float* __restrict squares) {
    for (; rows > 0; --rows, x += n)
        for (int c = 0; c < n; ++c) {
            const float d = load(x[c]) - origin[c];
            sum[c] += d;
            squares[c] += d * d;
        }
}

template <typename T>
void rectify(const T* __restrict x, long rows, int n, const float* __restrict scale,
             const float* __restrict shift, float slope, T* __restrict y) {
    for (; rows > 0; --rows, x += n, y += n)
        for (int c = 0; c < n; ++c) {
            store(rectified(load(x[c]) * scale[c] + shift[c], slope), y[c]);
        }
}

template <typename T>
void add_gradients(const T* __restrict x, const T* __restrict dy, long rows, int n,
                   const float* __restrict scale, const float* __restrict shift, float slope,
                   const float* __restrict mean, float* __restrict sum, float* __restrict product) {
    for (; rows > 0; --rows, x += n, dy += n)
        for (int c = 0; c < n; ++c) {
            const float value = load(x[c]);
            const float dh = passed(value * scale[c] + shift[c], load(dy[c]), slope);
            sum[c] += dh;
            product[c] += dh * (value - mean[c]);
        }
}

// `level` and `tilt`: what reaches every row by way of the mean, and, in proportion to its distance
// from the mean, by way of the variance.
template <typename T>
void pass_back(const T* __restrict x, const T* __restrict dy, long rows, int n,
               const float* __restrict scale, const float* __restrict shift, float slope,
               const float* __restrict mean, const float* __restrict level,
               const float* __restrict tilt, T* __restrict dx) {
    for (; rows > 0; --rows, x += n, dy += n, dx += n)
        for (int c = 0; c < n; ++c) {
            const float value = load(x[c]);
            const float dh = passed(value * scale[c] + shift[c], load(dy[c]), slope);
            store(scale[c] * (dh - level[c] - (value - mean[c]) * tilt[c]), dx[c]);
        }
}

// Calls `work(first row, number of rows, block)` for each block.
template <typename Work>
void in_blocks(long rows, int threads, Work work) {
    const long size = (rows + kBlocks - 1) / kBlocks;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long block = 0; block < kBlocks; ++block) {
        const long first = std::min(block * size, rows);
        work(first, std::min(size, rows - first), block);
    }
}

// Two sums for each channel and block.
struct Sums {
    int n;
    std::vector<float> parts;
    explicit Sums(int n) : n(n), parts(kBlocks * 2 * n, 0.0f) {}
    float* of(long block, int which) { return parts.data() + (2 * block + which) * n; }
    double total(int c, int which) {
        double sum = 0;
        for (long block = 0; block < kBlocks; ++block) sum += of(block, which)[c];
        return sum;
    }
};

// Normalisation as a factor and a summand for each channel, the same forward and backward.
struct Affine {
    std::vector<float> scale, shift;
    Affine(int n, const float* weight, const float* bias, const float* mean, const float* inverse)
        : scale(n), shift(n) {
        for (int c = 0; c < n; ++c) {
            scale[c] = weight[c] * inverse[c];
            shift[c] = bias[c] - mean[c] * scale[c];
        }
    }
};

// The mean of some rows, far from one another.
template <typename T>
std::vector<float> rough_mean(const T* x, long rows, int n) {
    const long some = std::min(rows, kBlocks);
    std::vector<float> mean(n, 0.0f);
    for (long row = 0; row < some; ++row)
        for (int c = 0; c < n; ++c) mean[c] += load(x[row * (rows / some) * n + c]) / some;
    return mean;
}

template <typename T>
void forward(const T* x, long rows, int n, const float* weight, const float* bias, double eps,
             float slope, double momentum, T* y, float* mean, float* inverse, float* running_mean,
             float* running_variance, int threads) {
    const std::vector<float> origin = rough_mean(x, rows, n);
    Sums sums(n);
    in_blocks(rows, threads, [&](long first, long count, long block) {
        add_moments(x + first * n, count, n, origin.data(), sums.of(block, 0), sums.of(block, 1));
    });
    for (int c = 0; c < n; ++c) {
        const double offset = sums.total(c, 0) / rows, center = origin[c] + offset;
        const double variance = std::max(sums.total(c, 1) / rows - offset * offset, 0.0);
        const double unbiased = variance * rows / (rows - 1);
        mean[c] = static_cast<float>(center);
        inverse[c] = static_cast<float>(1 / std::sqrt(variance + eps));
        running_mean[c] += static_cast<float>(momentum * (center - running_mean[c]));
        running_variance[c] += static_cast<float>(momentum * (unbiased - running_variance[c]));
    }
    const Affine affine(n, weight, bias, mean, inverse);
    in_blocks(rows, threads, [&](long first, long count, long) {
        rectify(x + first * n, count, n, affine.scale.data(), affine.shift.data(), slope,
                y + first * n);
    });
}

template <typename T>
void backward(const T* x, const T* dy, long rows, int n, const float* weight, const float* bias,
              const float* mean, const float* inverse, float slope, T* dx, float* dweight,
              float* dbias, int threads) {
    const Affine affine(n, weight, bias, mean, inverse);
    const float *scale = affine.scale.data(), *shift = affine.shift.data();
    Sums sums(n);
    in_blocks(rows, threads, [&](long first, long count, long block) {
        add_gradients(x + first * n, dy + first * n, count, n, scale, shift, slope, mean,
                      sums.of(block, 0), sums.of(block, 1));
    });
    std::vector<float> level(n), tilt(n);
    for (int c = 0; c < n; ++c) {
        const double sum = sums.total(c, 0), product = sums.total(c, 1) * inverse[c];
        dbias[c] = static_cast<float>(sum);
        dweight[c] = static_cast<float>(product);
        level[c] = static_cast<float>(sum / rows);
        tilt[c] = static_cast<float>(product / rows * inverse[c]);
    }
    in_blocks(rows, threads, [&](long first, long count, long) {
        pass_back(x + first * n, dy + first * n, count, n, scale, shift, slope, mean, level.data(),
                  tilt.data(), dx + first * n);
    });
}

}  // namespace

// `is_bfloat16` says what the arrays of rows are, else they are float32; the others always are.
extern "C" {

void fused_forward(int is_bfloat16, const void* x, long rows, int n, const float* weight,
                   const float* bias, double eps, double slope, double momentum, void* y,
                   float* mean, float* inverse, float* running_mean, float* running_variance,
                   int threads) {
    const auto run = [&](auto* out) {
        using T = std::remove_pointer_t<decltype(out)>;
        forward(static_cast<const T*>(x), rows, n, weight, bias, eps, static_cast<float>(slope),
                momentum, out, mean, inverse, running_mean, running_variance, threads);
    };
    is_bfloat16 ? run(static_cast<bfloat16*>(y)) : run(static_cast<float*>(y));
}

void fused_backward(int is_bfloat16, const void* x, const void* dy, long rows, int n,
                    const float* weight, const float* bias, const float* mean, const float* inverse,
                    double slope, void* dx, float* dweight, float* dbias, int threads) {
    const auto run = [&](auto* out) {
        using T = std::remove_pointer_t<decltype(out)>;
        backward(static_cast<const T*>(x), static_cast<const T*>(dy), rows, n, weight, bias, mean,
                 inverse, static_cast<float>(slope), out, dweight, dbias, threads);
    };
    is_bfloat16 ? run(static_cast<bfloat16*>(dx)) : run(static_cast<float*>(dx));
}

}

// Instance norm, ReLU and 2x2 average pooling of channels-last activations in one pass, forward and backward.
//
// Between two convolutions these layers do almost no arithmetic; run one by one they read and write the largest tensors
// of the network a dozen times. Here an image's channels stay in the cache between the statistics and their use: an
// activation is read once from memory on the way forward, and read and written once on the way back.
//
//     mean, var   over the H x W pixels of one image and channel
//     z = gamma * (x - mean) / sqrt(var + eps) + beta;   y = max(z, 0);   pooled = mean of 2 x 2 windows of y
//
// Layout: x is N x H x W x C, C a multiple of 16, float or bfloat16; sums are float. A row or column that does not fill
// a window counts in the statistics and is not pooled. pool is 1 (no pooling) or 2.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;  // channels of one vector
constexpr int BLOCK = 4;   // vectors that are worked on together

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

struct bfloat16 {
    uint16_t bits;
};

inline Floats load(const float* from) {
    Floats value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Floats load(const bfloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    Words words = __builtin_convertvector(halves, Words) << 16;
    Floats value;
    std::memcpy(&value, &words, sizeof value);
    return value;
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline void store(bfloat16* to, Floats value) {
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
    __m512 lanes;
    std::memcpy(&lanes, &value, sizeof lanes);
    __m256bh rounded = _mm512_cvtneps_pbh(lanes);
    std::memcpy(to, &rounded, sizeof rounded);
#else
    Words words;
    std::memcpy(&words, &value, sizeof words);
    Words nearest_even = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
    Words quiet_nan = (words >> 16) | 0x40;
    Words is_nan = (Words)(value != value);
    Halves halves = __builtin_convertvector((nearest_even & ~is_nan) | (quiet_nan & is_nan), Halves);
    std::memcpy(to, &halves, sizeof halves);
#endif
}

inline Floats positive(Floats value, Floats of) {  // value where of > 0, else 0; a NaN stays
    Ints mask = ~(of <= 0.0f);
    Ints bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= mask;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Shape {
    int64_t images, height, width, channels, pool;
    int64_t image() const { return height * width * channels; }  // numbers of one image, before and after pooling
    int64_t pooled() const { return (height / pool) * (width / pool) * channels; }
};

// Vectors first .. first + count - 1 of one image. Everything that is kept in `Floats name[BLOCK]` stays in registers,
// since the loops over it have a fixed length.
template <typename T, int COUNT>
void forward_block(const T* x, const float* gamma, const float* beta, T* y, float* mean, float* rstd, Shape shape,
                   float eps) {
    const int64_t row = shape.width * shape.channels, pixels = shape.height * shape.width;
    Floats origin[COUNT], sum[COUNT], squares[COUNT], scale[COUNT], shift[COUNT];
    for (int v = 0; v < COUNT; v++) {
        origin[v] = load(x + v * LANES);  // sums of differences from some pixel do not cancel
        sum[v] = squares[v] = Floats{};
    }
    for (int64_t p = 0; p < pixels; p++)
        for (int v = 0; v < COUNT; v++) {
            Floats value = load(x + p * shape.channels + v * LANES) - origin[v];
            sum[v] += value;
            squares[v] += value * value;
        }
    for (int v = 0; v < COUNT; v++) {
        Floats average = sum[v] / (float)pixels, inverse;
        Floats variance = squares[v] / (float)pixels - average * average;
        average += origin[v];
        for (int lane = 0; lane < LANES; lane++)
            inverse[lane] = 1.0f / std::sqrt((variance[lane] < 0 ? 0 : variance[lane]) + eps);
        store(mean + v * LANES, average);
        store(rstd + v * LANES, inverse);
        scale[v] = load(gamma + v * LANES) * inverse;
        shift[v] = load(beta + v * LANES) - average * scale[v];
    }
    if (shape.pool == 1) {
        for (int64_t p = 0; p < pixels; p++)
            for (int v = 0; v < COUNT; v++) {
                const int64_t at = p * shape.channels + v * LANES;
                Floats z = load(x + at) * scale[v] + shift[v];
                store(y + at, positive(z, z));
            }
        return;
    }
    for (int64_t i = 0; i + 1 < shape.height; i += 2)
        for (int64_t j = 0; j + 1 < shape.width; j += 2) {
            const T* corner = x + i * row + j * shape.channels;
            for (int v = 0; v < COUNT; v++) {
                Floats total{};
                for (int64_t offset : {(int64_t)0, shape.channels, row, row + shape.channels}) {
                    Floats z = load(corner + offset + v * LANES) * scale[v] + shift[v];
                    total += positive(z, z);
                }
                store(y + v * LANES, total * 0.25f);
            }
            y += shape.channels;
        }
}

// From the gradient of the pooled output: d gamma and d beta of this image, and the gradient of x.
template <typename T, int COUNT>
void backward_block(const T* x, const T* gradient, const float* gamma, const float* beta, const float* mean,
                    const float* rstd, T* dx, float* dgamma, float* dbeta, Shape shape) {
    const int64_t row = shape.width * shape.channels, pixels = shape.height * shape.width;
    const int64_t windows_high = shape.height / shape.pool, windows_wide = shape.width / shape.pool;
    const float share = 1.0f / (float)(shape.pool * shape.pool);
    const int64_t offsets[4] = {0, shape.channels, row, row + shape.channels};
    const int members = shape.pool == 1 ? 1 : 4;
    Floats scale[COUNT], shift[COUNT], sum[COUNT], product[COUNT], linear[COUNT], constant[COUNT];
    for (int v = 0; v < COUNT; v++) {
        scale[v] = load(gamma + v * LANES) * load(rstd + v * LANES);
        shift[v] = load(beta + v * LANES) - load(mean + v * LANES) * scale[v];
        sum[v] = product[v] = Floats{};
    }
    for (int64_t i = 0; i < windows_high; i++)
        for (int64_t j = 0; j < windows_wide; j++) {
            const T* corner = x + i * shape.pool * row + j * shape.pool * shape.channels;
            const T* incoming = gradient + (i * windows_wide + j) * shape.channels;
            for (int v = 0; v < COUNT; v++) {
                Floats dy = load(incoming + v * LANES) * share, average = load(mean + v * LANES);
                for (int member = 0; member < members; member++) {
                    Floats value = load(corner + offsets[member] + v * LANES);
                    Floats dz = positive(dy, value * scale[v] + shift[v]);
                    sum[v] += dz;
                    product[v] += dz * (value - average);
                }
            }
        }
    // dx = scale * (dz - mean(dz) - xhat * mean(dz * xhat)) = scale * dz - linear * x - constant
    for (int v = 0; v < COUNT; v++) {
        Floats inverse = load(rstd + v * LANES);
        product[v] *= inverse;
        store(dbeta + v * LANES, sum[v]);
        store(dgamma + v * LANES, product[v]);
        linear[v] = scale[v] * inverse * product[v] / (float)pixels;
        constant[v] = scale[v] * sum[v] / (float)pixels - linear[v] * load(mean + v * LANES);
    }
    const bool uneven = shape.height % shape.pool || shape.width % shape.pool;
    if (uneven)
        for (int64_t p = 0; p < pixels; p++)
            for (int v = 0; v < COUNT; v++) {
                const int64_t at = p * shape.channels + v * LANES;
                store(dx + at, -(load(x + at) * linear[v] + constant[v]));
            }
    for (int64_t i = 0; i < windows_high; i++)
        for (int64_t j = 0; j < windows_wide; j++) {
            const int64_t corner = i * shape.pool * row + j * shape.pool * shape.channels;
            const T* incoming = gradient + (i * windows_wide + j) * shape.channels;
            for (int v = 0; v < COUNT; v++) {
                Floats dy = load(incoming + v * LANES) * share;
                for (int member = 0; member < members; member++) {
                    const int64_t at = corner + offsets[member] + v * LANES;
                    Floats value = load(x + at);
                    Floats dz = positive(dy, value * scale[v] + shift[v]);
                    store(dx + at, scale[v] * dz - (value * linear[v] + constant[v]));
                }
            }
        }
}

// Calls block(number of vectors, image, first channel) for all channels of all images, BLOCK vectors at a time.
template <typename Block>
void over_blocks(Shape shape, int threads, Block block) {
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < shape.images; n++) {
        const int64_t wide = shape.channels - shape.channels % (BLOCK * LANES);
        for (int64_t c = 0; c < wide; c += BLOCK * LANES) block(std::integral_constant<int, BLOCK>{}, n, c);
        for (int64_t c = wide; c < shape.channels; c += LANES) block(std::integral_constant<int, 1>{}, n, c);
    }
}

template <typename T>
void forward(const T* x, const float* gamma, const float* beta, T* y, float* mean, float* rstd, Shape shape, float eps,
             int threads) {
    over_blocks(shape, threads, [&](auto count, int64_t n, int64_t c) {
        const int64_t at = n * shape.channels + c;
        forward_block<T, decltype(count)::value>(x + n * shape.image() + c, gamma + c, beta + c,
                                                 y + n * shape.pooled() + c, mean + at, rstd + at, shape, eps);
    });
}

template <typename T>
void backward(const T* x, const T* gradient, const float* gamma, const float* beta, const float* mean,
              const float* rstd, T* dx, float* dgamma, float* dbeta, Shape shape, int threads) {
    over_blocks(shape, threads, [&](auto count, int64_t n, int64_t c) {
        const int64_t at = n * shape.channels + c, image = n * shape.image() + c;
        backward_block<T, decltype(count)::value>(x + image, gradient + n * shape.pooled() + c, gamma + c, beta + c,
                                                  mean + at, rstd + at, dx + image, dgamma + at, dbeta + at, shape);
    });
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define DEFINE(NAME, T)                                                                                               \
    EXPORT void instance_block_forward_##NAME(const T* x, const float* gamma, const float* beta, T* y, float* mean,   \
                                              float* rstd, int64_t images, int64_t height, int64_t width,            \
                                              int64_t channels, int64_t pool, float eps, int threads) {              \
        forward(x, gamma, beta, y, mean, rstd, {images, height, width, channels, pool}, eps, threads);               \
    }                                                                                                                 \
    EXPORT void instance_block_backward_##NAME(                                                                       \
        const T* x, const T* gradient, const float* gamma, const float* beta, const float* mean, const float* rstd,   \
        T* dx, float* dgamma, float* dbeta, int64_t images, int64_t height, int64_t width, int64_t channels,          \
        int64_t pool, int threads) {                                                                                  \
        backward(x, gradient, gamma, beta, mean, rstd, dx, dgamma, dbeta, {images, height, width, channels, pool},    \
                 threads);                                                                                            \
    }
DEFINE(float32, float)
DEFINE(bfloat16, bfloat16)

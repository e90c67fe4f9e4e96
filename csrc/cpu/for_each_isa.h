// Includes FB_FILE once per instruction set, with FB_ISA naming its namespace and FB_ISA_LEVEL 0, 1, 2. Everything from
// the standard library must have been included before: code inlined from it would otherwise be compiled for one set and
// linked for all.
#define FB_ISA scalar
#define FB_ISA_LEVEL 0
#include FB_FILE
#undef FB_ISA
#undef FB_ISA_LEVEL

#if FB_X86
#define FB_ISA avx2
#define FB_ISA_LEVEL 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt")
#endif
#include FB_FILE
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef FB_ISA
#undef FB_ISA_LEVEL

#define FB_ISA avx512
#define FB_ISA_LEVEL 2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#if defined(FB_EMULATED_AVX512)
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt")
#elif defined(FB_TUNE_SKYLAKE)
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512,tune=skylake-avx512")
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#endif
#include FB_FILE
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef FB_ISA
#undef FB_ISA_LEVEL
#endif

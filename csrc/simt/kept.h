#pragma once

#include <cstdint>

namespace fastblackout::simt_test {

// A launch of `size` blocks, each of which has or makes the table of its p, q and max_count as the draws do, but where four tables
// are kept in all. words: uint32, (size, table_words()); actions: uint8, (size,), as KeptAction of cuda/kept.cuh.
void build_tables(const double* p, const double* q, const int64_t* max_count, int64_t size, uint32_t* words, uint8_t* actions);
int64_t table_words();
void forget_tables();

}  // namespace fastblackout::simt_test

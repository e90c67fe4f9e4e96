// Counts of single cells, as a CSR matrix stores them: the counts above 0 of one cell after those of another, and their genes.
// fastblackout/cells/draws.py says what they are for; no op of the package.
#pragma once

#include "cpu/ops.h"

namespace fastblackout::cpu {

struct Cells : Common {                  // `samples` counts the cells, B, and `elements` the counts of all of them, N
  View counts;                           // (N,), of uint8, int32 or int64, in C order
  const int64_t* ends = nullptr;         // (B + 1,): cell b has the counts ends[b] .. ends[b + 1] - 1

  // Throws std::invalid_argument unless the ends are in order.
  void check(const char* name) const;
};

struct ThinCells : Cells {               // thin of every cell as a sample
  View drawn;                            // (N,): like counts
  Prob alive;

  template <class Read>
  void fields(Read& read) {
    read(counts, ends, alive, this->key);
    read.outputs(drawn);
  }
};

struct KeepCounts : Cells {              // what is not 0, in the same order
  View genes;                            // (N,), of int32 or int64
  View kept, kept_genes;                 // (N,), like counts and genes: as many of the first as the last of kept_ends says
  int64_t* kept_ends = nullptr;          // (B + 1,)

  template <class Read>
  void fields(Read& read) {
    read(counts, ends, genes);
    read.outputs(kept, kept_genes, kept_ends);
  }
};

void thin_cells(const ThinCells& op);
void keep_counts(const KeepCounts& op);

}  // namespace fastblackout::cpu

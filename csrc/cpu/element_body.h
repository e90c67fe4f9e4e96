// Body, once per instruction set: a chunk of per-element draws by passes over dense lists, so that every costly loop
// vectorises. With vectors nearly all elements are decided in float32 (element_fast.h); what that leaves open, and on the
// scalar set everything, goes through the functions of the shared headers' element-by-element samplers, hence the bits.
//
// A Law gives, of each element of `given` (kInputs arrays): rejects (whether it is for the trials), fill (its inputs, at a
// place of a dense list) and finish (its result from the draw); over dense lists: invert and hat; of a Hat (what an
// element's trials share): load and store in a structure of arrays, candidate, accepts, and of Stirling's corrections the
// smallest argument, the sum by the series and the exact sum. `start`, the whole part that results add to, is field kStart.
// fast_trials and fast_inversions are those of element_fast.h for this law.

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));

constexpr int padded(int count) { return (count + 31) & ~31; }  // what inputs are filled up to

static FB_HD f64x8 load8(const double* from) {
  f64x8 v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

static inline bool any8(i64x8 mask) {
  return ((mask[0] | mask[1]) | (mask[2] | mask[3]) | (mask[4] | mask[5]) | (mask[6] | mask[7])) != 0;
}

template <class Law>
struct Trials {
  alignas(64) double hat[Law::kFields][kChunk], open[Law::kFields][kChunk];
  alignas(64) uint32_t element[kChunk + 8];                         // index of the element a hat belongs to
  alignas(64) uint64_t high[kChunk + 8], low[kChunk + 8];           // words of a trial
  alignas(64) double edge[kChunk], j[kChunk], v[kChunk];            // of all that try
  alignas(64) double open_edge[kChunk], open_j[kChunk], open_v[kChunk], corrections[kChunk];  // of those to test exactly
  alignas(64) int64_t state[kChunk], open_state[kChunk];            // 0 try again, 1 needs the exact test, 2 accepted
  int pending[kChunk], slot[kChunk];                                // slot: where an element's result goes
};

template <class Law>
static void candidates(Trials<Law>& t, int m) {
  for (int e = 0; e < m; ++e) {
    const double u = uniform_centred(static_cast<int64_t>(t.high[e] >> 11));
    const double v = uniform_to_one(static_cast<int64_t>(t.low[e] >> 11));
    const Candidate c = Law::candidate(Law::load(t.hat, e), u, v);
    t.v[e] = v;
    t.edge[e] = c.edge;
    t.j[e] = c.j;
    t.state[e] = static_cast<int64_t>(c.inside) + static_cast<int64_t>(c.sure);
  }
}

template <class Law>
static void exact_tests(Trials<Law>& t, int m) {
  for (int e = 0; e < m; ++e) t.corrections[e] = Law::series(Law::load(t.open, e), t.open_j[e]);
  for (int e = 0; e < m; ++e)  // a table look-up does not vectorise, so the few small arguments are mended one by one
    if (Law::smallest(Law::load(t.open, e), t.open_j[e]) < 16.0) t.corrections[e] = Law::corrections(Law::load(t.open, e), t.open_j[e]);
  for (int e = 0; e < m; ++e)
    t.open_state[e] = Law::accepts(Law::load(t.open, e), t.open_edge[e], t.open_j[e], t.open_v[e], t.corrections[e]) ? 2 : 0;
}

static inline void gather(double* to, const double* from, const int* at, int m) {
  for (int e = 0; e < m; ++e) to[e] = from[at[e]];
}

// k[slot] = whole part + offset, an exact sum, for the `m` elements whose hats, indices and slots are filled.
template <class Law>
static void run_trials(Trials<Law>& t, const SampleKey& key, uint32_t stream, int m, double* k) {
  for (uint32_t trial = 0; m > 0; ++trial) {
    for (int e = m; e < ((m + 7) & ~7); ++e) t.element[e] = 0;
    element_words(key, stream, trial, t.element, m, t.high, t.low);
    candidates(t, m);
    int open = 0;
    for (int e = 0; e < m; ++e) {
      t.pending[open] = e;
      open += t.state[e] == 1;
    }
    for (int field = 0; field < Law::kFields; ++field) gather(t.open[field], t.hat[field], t.pending, open);
    gather(t.open_edge, t.edge, t.pending, open);
    gather(t.open_j, t.j, t.pending, open);
    gather(t.open_v, t.v, t.pending, open);
    exact_tests(t, open);
    for (int o = 0; o < open; ++o) t.state[t.pending[o]] = t.open_state[o];
    const bool last = trial + 1 == kMaxTrials;
    int left = 0;
    for (int e = 0; e < m; ++e) {
      k[t.slot[e]] = t.hat[Law::kStart][e] + (last && t.state[e] == 0 ? 0.0 : t.j[e]);
      t.pending[left] = e;
      left += t.state[e] == 0;
    }
    if (last) return;
    for (int field = 0; field < Law::kFields; ++field) gather(t.hat[field], t.hat[field], t.pending, left);
    for (int e = 0; e < left; ++e) {
      t.element[e] = t.element[t.pending[e]];
      t.slot[e] = t.slot[t.pending[e]];
    }
    m = left;
  }
}

template <class Law>
struct Scratch {
  Trials<Law> trials;
  int inverted[kChunk + 16], rejected[kChunk + 16], open[kChunk + 16];
  alignas(64) double input[Law::kInputs][kChunk], k[kChunk];
#if FB_ISA_LEVEL > 0
  alignas(64) float field[Law::kFast][kChunk], dense[Law::kFast][kChunk], drawn[kChunk], trial_k[kChunk];
  alignas(64) uint32_t element[kChunk], u[kChunk], v[kChunk], trial_u[kChunk], trial_v[kChunk];
  alignas(64) int32_t state[kChunk];
#endif
};

// out[e] for the elements e = at[0..m), those of index i0 + e in their sample.
template <class Law>
static void exact_draws(Scratch<Law>& s, const double* const* given, const SampleKey& key, uint32_t stream, uint32_t i0,
                        const int* at, int m, double* out) {
  Trials<Law>& t = s.trials;
  int inverted = 0, rejected = 0;
  for (int o = 0; o < m; ++o) {
    const bool reject = Law::rejects(given, at[o]);
    s.inverted[inverted] = at[o];
    inverted += !reject;
    s.rejected[rejected] = at[o];
    rejected += reject;
  }
  const int padded = (inverted + 7) & ~7;
  for (int o = 0; o < padded; ++o) {
    const int e = s.inverted[o < inverted ? o : 0];  // the padding repeats an element
    Law::fill(s.input, o, given, e);
    t.element[o] = i0 + static_cast<uint32_t>(e);
  }
  element_words(key, stream, 0, t.element, padded, t.high, t.low);
  Law::invert(padded, s.input, t.high, s.k);
  for (int o = 0; o < inverted; ++o) out[s.inverted[o]] = Law::finish(given, s.inverted[o], s.k[o]);
  if (rejected == 0) return;
  for (int o = 0; o < rejected; ++o) {
    t.slot[o] = o;
    Law::fill(s.input, o, given, s.rejected[o]);
    t.element[o] = i0 + static_cast<uint32_t>(s.rejected[o]);
  }
  for (int o = 0; o < rejected; ++o) Law::store(t.hat, o, Law::hat(s.input, o));
  run_trials(t, key, stream, rejected, s.k);
  for (int o = 0; o < rejected; ++o) out[s.rejected[o]] = Law::finish(given, s.rejected[o], s.k[o]);
}

#if FB_ISA_LEVEL > 0
constexpr uint32_t kFastTrials = 64;  // more are never seen

#if FB_ISA_LEVEL == 2
// Lists the e < m of a state; returns how many. m is a multiple of 16, and the list has room for 16 more.
static inline int list_of(const int32_t* state, int m, Outcome outcome, int* list) {
  const __m512i step = _mm512_set1_epi32(16), wanted = _mm512_set1_epi32(outcome);
  __m512i e = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int length = 0;
  for (int at = 0; at < m; at += 16, e = _mm512_add_epi32(e, step)) {
    const __mmask16 found = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(state + at), wanted);
    _mm512_storeu_si512(list + length, _mm512_maskz_compress_epi32(found, e));
    length += __builtin_popcount(found);
  }
  return length;
}
#else
static inline int list_of(const int32_t* state, int m, Outcome outcome, int* list) {
  int length = 0;
  for (int e = 0; e < m; ++e) {
    list[length] = e;
    length += state[e] == outcome;
  }
  return length;
}
#endif

// Fields of the elements at[0..m) as dense arrays, repeating one up to padded(m); returns where that ends.
template <class Law>
static int gather_fields(Scratch<Law>& s, int* at, int m) {
  const int end = padded(m);
  for (int o = m; o < end; ++o) at[o] = at[0];
  for (int f = 0; f < Law::kFast; ++f)
    for (int o = 0; o < end; ++o) s.dense[f][o] = s.field[f][at[o]];
  return end;
}

// As exact_draws for the elements 0..count - 1, but leaves some to it: returns how many, listed in s.open.
template <class Law>
static int fast_draws(Scratch<Law>& s, const double* const* given, const SampleKey& key, uint32_t stream, uint32_t i0,
                      int count, double* out) {
  const int all = padded(count);
  for (int e = 0; e < all; ++e) s.element[e] = i0 + static_cast<uint32_t>(e);
  trial_words(key, stream, 0, s.element, all, s.u, s.v);
  Law::prepare(all, given, s.field);
  Law::fast_trials(all, s.field, s.u, s.v, s.drawn, s.state);
  for (int e = count; e < all; ++e) s.state[e] = kAccepted;
  const int inverted = list_of(s.state, all, kInverted, s.inverted);
  int rejected = list_of(s.state, all, kRejected, s.rejected), open = list_of(s.state, all, kUnsure, s.open);
  if (inverted > 0) {
    const int end = gather_fields(s, s.inverted, inverted);
    for (int o = 0; o < end; ++o) s.trial_u[o] = s.u[s.inverted[o]];
    Law::fast_inversions(end, s.dense, s.trial_u, s.trial_k, s.state);
    for (int o = 0; o < inverted; ++o) {
      s.drawn[s.inverted[o]] = s.trial_k[o];
      s.open[open] = s.inverted[o];
      open += s.state[o] != kAccepted;
    }
  }
  for (uint32_t trial = 1; rejected > 0 && trial < kFastTrials; ++trial) {
    const int end = gather_fields(s, s.rejected, rejected);
    for (int o = 0; o < end; ++o) s.element[o] = i0 + static_cast<uint32_t>(s.rejected[o]);
    trial_words(key, stream, trial, s.element, end, s.trial_u, s.trial_v);
    Law::fast_trials(end, s.dense, s.trial_u, s.trial_v, s.trial_k, s.state);
    int again = 0;
    for (int o = 0; o < rejected; ++o) {
      const int e = s.rejected[o];
      s.drawn[e] = s.trial_k[o];
      s.open[open] = e;
      open += s.state[o] == kUnsure;
      s.rejected[again] = e;
      again += s.state[o] == kRejected;
    }
    rejected = again;
  }
  for (int o = 0; o < rejected; ++o) s.open[open++] = s.rejected[o];
  Law::finish_all(all, given, s.drawn, out);
  return open;
}
#endif

// out[e] for the elements 0 .. count - 1 of a chunk, those of index i0 + e in their sample. `given` has valid inputs up to
// padded(count), `out` room for as many; they are distinct.
template <class Law>
static void element_draws(const double* const* given, const SampleKey& key, uint32_t stream, uint32_t i0, int count, double* out) {
  static thread_local std::unique_ptr<Scratch<Law>> kept;
  if (!kept) kept.reset(new Scratch<Law>);
#if FB_ISA_LEVEL > 0
  const int open = fast_draws(*kept, given, key, stream, i0, count, out);
#else
  const int open = count;
  for (int e = 0; e < count; ++e) kept->open[e] = e;
#endif
  if (open > 0) exact_draws(*kept, given, key, stream, i0, kept->open, open, out);
}

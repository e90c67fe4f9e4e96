// posterior_loss: a block takes a chunk of 1,024 elements, in float64, and leaves their losses in shared memory, which a warp sums:
// the upper levels of the halving tree lie within a lane, the others are shuffles. Where counts are small, the logarithms of
// factorials come from a table that each block makes, an entry a thread. The gradient is a launch of its own. What is a law's own
// stands in a file of its own; the kernels, in law_chunk.cuh, are launched here.
#include "cuda/bayes_logistic_loss.cuh"
#include "cuda/beta_binomial_loss.cuh"
#include "cuda/negative_binomial_loss.cuh"
#include "cuda/states_loss.cuh"

namespace fastblackout {
namespace cuda {
namespace {

Family family_of(const PosteriorLoss& op) { return static_cast<Family>(op.family); }

// A block a chunk: below 2^31, more than a GPU's memory holds
unsigned blocks_of(const PosteriorLoss& op) { return static_cast<unsigned>(op.samples * chunks_of(op)); }

}  // namespace

int posterior_loss(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  switch (family_of(op)) {
    case Family::beta_binomial: FB_LAUNCH(law_losses<BetaBinomialLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_logistic: FB_LAUNCH(law_losses<BayesLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::negative_binomial: FB_LAUNCH(law_losses<NegativeBinomialLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::categorical: FB_LAUNCH(law_losses<StateLosses<false>>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_categorical: FB_LAUNCH(law_losses<StateLosses<true>>, blocks_of(op), kThreads, stream, op); break;
  }
  return cudaGetLastError();
}

int posterior_loss_gradient(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  switch (family_of(op)) {
    case Family::beta_binomial: FB_LAUNCH(law_grads<BetaBinomialLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_logistic: FB_LAUNCH(law_grads<BayesLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::negative_binomial: FB_LAUNCH(law_grads<NegativeBinomialLosses>, blocks_of(op), kThreads, stream, op); break;
    case Family::categorical: FB_LAUNCH(law_grads<StateLosses<false>>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_categorical: FB_LAUNCH(law_grads<StateLosses<true>>, blocks_of(op), kThreads, stream, op); break;
  }
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout

// posterior_loss: a block takes a chunk of 1,024 elements, in float64, and leaves their losses in shared memory, which a warp sums:
// the upper levels of the halving tree lie within a lane, the others are shuffles. Where counts are small, the logarithms of
// factorials come from a table that each block makes, an entry a thread. The gradient is a launch of its own. What is a law's own
// stands in a file of its own; the kernels, in law_chunk.cuh, are launched here.
#include "cuda/bayes_logistic_loss.cuh"
#include "cuda/beta_binomial_loss.cuh"
#include "cuda/negative_binomial_loss.cuh"

namespace fastblackout::cuda {
namespace {

Family family_of(const PosteriorLoss& op) { return static_cast<Family>(op.family); }

// A block a chunk: below 2^31, more than a GPU's memory holds
template <class Kernel>
int launch_chunks(Kernel kernel, const PosteriorLoss& op, void* stream) {
  FB_LAUNCH(kernel, static_cast<unsigned>(op.samples * chunks_of(op)), kThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace

int posterior_loss(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  switch (family_of(op)) {
    case Family::bayes_logistic: return launch_chunks(law_losses<BayesLosses>, op, stream);
    case Family::negative_binomial: return launch_chunks(law_losses<NegativeBinomialLosses>, op, stream);
    default: return launch_chunks(law_losses<BetaBinomialLosses>, op, stream);
  }
}

int posterior_loss_gradient(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  switch (family_of(op)) {
    case Family::bayes_logistic: return launch_chunks(law_grads<BayesLosses>, op, stream);
    case Family::negative_binomial: return launch_chunks(law_grads<NegativeBinomialLosses>, op, stream);
    default: return launch_chunks(law_grads<BetaBinomialLosses>, op, stream);
  }
}

}  // namespace fastblackout::cuda

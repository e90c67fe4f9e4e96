// The switch of fiber.h: saves the stack pointer and the six registers that a call must keep, and loads another fiber's.
#if defined(__x86_64__)
asm(R"(
.text
.globl fastblackout_simt_switch
.hidden fastblackout_simt_switch
.type fastblackout_simt_switch, @function
fastblackout_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

# Two commands for people; everything behind them is `cargo xtask`.
.PHONY: demo demo-down test walk bench

demo:            ## a server and three nodes on this machine; PROFILE=full: with the daemons of examples/full
	@sh xtask/kubectl-check.sh
	@cargo build --quiet --bin pernode --bin xtask
	@cargo xtask demo up --profile $(or $(PROFILE),small)

demo-down:       ## end the demo; leaves nothing behind
	@cargo xtask demo down

test:            ## install what tests need, then run everything
	@cargo xtask test

walk:            ## every action of the guide against the running demo
	@cargo xtask walk

bench:           ## fill docs/benchmarks.md
	@cargo xtask bench

from dnll_core.bench.command import main

main()

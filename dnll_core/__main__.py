from dnll_core.own.command import main

main()

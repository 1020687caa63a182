from dnll_core.campaign.command import main

main()

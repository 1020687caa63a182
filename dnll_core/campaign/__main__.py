from dnll_core.campaign.command import as_program, main

as_program(main)

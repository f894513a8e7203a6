from qmm.cli import main

main()

"""What more than one figure needs: colours, text that fits, labelled rows, and figures as PNG, SVG and CSV."""

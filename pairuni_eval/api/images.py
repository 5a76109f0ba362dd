"""Images in the cells of tables, read within their bounds."""

from pairuni_eval.image_cell import SeveralImagesError, encoded_image, image_file
from pairuni_eval.pictures import read_rgb

"""What surrounds and replaces captions on web pages: shop talk, file names, other tongues. Data only.

None of these words is in the lexicon, so that furniture never says anything about a picture.
"""

PREFIXES: tuple[str, ...] = (
    "new arrival:",
    "photo:",
    "vintage postcard,",
    "hd wallpaper:",
    "figure 3.",
    "our story -",
    "best of 2016:",
    "handmade gift,",
)

SUFFIXES: tuple[str, ...] = (
    "- free shipping on every order over twenty dollars",
    "| stock image, royalty free licence",
    "by studio nord, all rights reserved",
    "- buy online at low prices today",
    "for sale in great condition, make me an offer",
    "- high resolution wallpaper for your desktop",
    "| page 4 of my travel blog",
    "- wikimedia commons",
    "art print, canvas, poster and greeting card",
    "- how to draw it step by step",
    "| reviews and ratings by verified buyers",
    "from our summer holiday album",
    "- pinterest ideas and inspiration",
    "for kids, printable colouring page",
)

SPAM: tuple[str, ...] = (
    "buy now and save up to 70 percent, free shipping worldwide",
    "click here to enlarge",
    "best price guarantee - add to cart - limited stock",
    "front page banner, subscribe to our newsletter for weekly deals",
    "cheap discount codes and coupons 2019 updated daily",
    "you may also like these related products",
    "login or register to see the full size image",
    "advertisement, sponsored content, read more after the fold",
)

FOREIGN_GERMAN: tuple[str, ...] = (
    "{noun} günstig kaufen, kostenloser versand",
    "schönes foto: {noun}",
    "{noun} zum ausmalen",
)
FOREIGN_SPANISH: tuple[str, ...] = (
    "comprar {noun} con envío gratis",
    "foto de {noun} muy bonita",
    "dibujo de {noun} para niños",
)

FILE_NAMES: tuple[str, ...] = (
    "IMG_{number}.jpg",
    "DSC{number}.JPG",
    "{number}-xl.png",
    "image{number}",
    "photo_{number}_final.jpeg",
)

EMPTY: tuple[str, ...] = ("", "untitled", "image")

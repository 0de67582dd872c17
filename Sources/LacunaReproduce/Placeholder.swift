import Lacuna

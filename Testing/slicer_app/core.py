"""Slicer's real C++ core: one MRML scene, the application logic, and the logics of the modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

# The modules of Slicer whose logic is here; slicer.modules has them by their name in lowercase.
MODULE_LOGICS = {
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}

SLICE_DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
VIEW_DISPLAYABLE_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
)


class Core:
    """The scene and the logics, in the order in which the application makes them."""

    def __init__(self, home: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        # The color logic looks for its files there as soon as it is made.
        self.application_logic.SetHomeDirectory(str(home))
        self.application_logic.SetShareDirectory("share")
        (home / "share" / "ColorFiles").mkdir(parents=True)
        self.application_logic.SetTemporaryPath(str(home / "tmp"))
        self._read_bundles_to(home / "cache")
        self.application_logic.SetMRMLScene(self.scene)
        color_logic = slicer.vtkSlicerColorLogic()
        color_logic.SetMRMLApplicationLogic(self.application_logic)
        color_logic.SetMRMLScene(self.scene)
        self.application_logic.SetColorLogic(color_logic)
        color_logic.AddDefaultColorNodes()
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.application_logic.SetModuleLogic("Colors", color_logic)
        self.logics: dict[str, Any] = {"Colors": color_logic}
        for name, class_name in MODULE_LOGICS.items():
            if name not in self.logics:
                self.logics[name] = self._module_logic(name, class_name)
        self._register_displayable_managers()

    def _read_bundles_to(self, cache: Path) -> None:
        """Give the scene what reading an .mrb asks for: a folder to unpack it in."""
        cache.mkdir()
        self.remote_io_logic = slicer.vtkMRMLRemoteIOLogic()
        self.remote_io_logic.SetMRMLApplicationLogic(self.application_logic)
        self.remote_io_logic.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self.remote_io_logic.SetMRMLScene(self.scene)
        self.data_io_manager_logic = slicer.vtkDataIOManagerLogic()
        self.data_io_manager_logic.SetMRMLApplicationLogic(self.application_logic)
        self.data_io_manager_logic.SetAndObserveDataIOManager(self.remote_io_logic.GetDataIOManager())
        self.application_logic.SetMRMLSceneDataIO(self.scene, self.remote_io_logic, self.data_io_manager_logic)

    def _module_logic(self, name: str, class_name: str) -> Any:
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(self.application_logic)
        if name != "Terminologies":  # wants json files that come with the whole application
            logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic

    def _register_displayable_managers(self) -> None:
        for factory_class, names in (
            (slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_DISPLAYABLE_MANAGERS),
            (slicer.vtkMRMLThreeDViewDisplayableManagerFactory, VIEW_DISPLAYABLE_MANAGERS),
        ):
            factory = factory_class.GetInstance()
            factory.SetMRMLApplicationLogic(self.application_logic)
            for name in names:
                if not factory.IsDisplayableManagerRegistered(name):
                    factory.RegisterDisplayableManager(name)
